/**
 * Works through `items` with `workers` at a time, in their order of starting. The first failure ends it: what runs is
 * waited for, nothing further is begun.
 */
export const eachBounded = async <T>(
  items: readonly T[],
  workers: number,
  work: (item: T) => Promise<void>,
): Promise<void> => {
  const queue = items.values();
  const state: { failure: { error: unknown } | null } = { failure: null };
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (state.failure !== null) return;
      try {
        await work(item);
      } catch (error) {
        state.failure ??= { error };
      }
    }
  };
  const running = Array.from({ length: Math.min(workers, items.length) }, () => worker());
  await Promise.all(running);
  if (state.failure !== null) throw state.failure.error;
};
