/**
 * Imported before a mover's own modules: the clock by which it measures outages and speed goes `?times=` as fast. Its timers stay, so
 * that nobody has less time to answer it.
 */
const times = Number(new URL(import.meta.url).searchParams.get('times'));
const now = performance.now.bind(performance);
performance.now = () => now() * times;
