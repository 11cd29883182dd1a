/** Account of a trial on a terminal: steps with times, one live bar, sizes in binary units. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `1536` -> `1.5 KiB`. */
export const formatBytes = (bytes: number): string => {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? ''}`;
};

export const formatSeconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** A bar of `width` cells for `done` of `total`; an unknown total draws an empty one. */
export const drawBar = (done: number, total: number | null, width = 30): string => {
  const share = total === null || total === 0 ? 0 : Math.min(1, done / total);
  const cells = Math.round(share * width);
  return `[${'#'.repeat(cells)}${'.'.repeat(width - cells)}] ${String(Math.round(share * 100)).padStart(3)} %`;
};

/** Writes lines; on a terminal the bar is redrawn in place, elsewhere it is written when its percentage has grown by 20. */
export class Account {
  private barOpen = false;
  private lastShown = -1;

  constructor(private readonly out: NodeJS.WriteStream) {}

  line(text = ''): void {
    if (this.barOpen) this.out.write('\n');
    this.barOpen = false;
    this.lastShown = -1;
    this.out.write(`${text}\n`);
  }

  bar(label: string, done: number, total: number | null, note = ''): void {
    const text = `   ${label.padEnd(10)} ${drawBar(done, total)}  ${note}`;
    if (this.out.isTTY) {
      this.out.write(`\r${text.padEnd(100)}`);
      this.barOpen = true;
      return;
    }
    const percent = total === null || total === 0 ? 0 : Math.floor((done / total) * 5) * 20;
    if (percent === this.lastShown) return;
    this.lastShown = percent;
    this.out.write(`${text}\n`);
  }

  /** Says what is under way, and when `work` ends how long it took. */
  async step<T>(label: string, work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    const result = await work();
    this.line(` ✓ ${label} (${formatSeconds(performance.now() - begun)})`);
    return result;
  }
}
