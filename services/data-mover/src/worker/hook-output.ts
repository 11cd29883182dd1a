import { hookOutputLimits, type HookResult } from '@casvault/contracts';

const escape = String.fromCharCode(27);
/** Colours and movements of the cursor. */
const terminalCodes = new RegExp(`${escape}\\[[0-?]*[ -/]*[@-~]`, 'g');

/** As it may stand in a log: nothing that moves a cursor, hides or reorders what is read. */
const plain = (line: string): string => {
  const text = line
    .replace(terminalCodes, '')
    .replace(/\t/g, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '');
  const { lineLength } = hookOutputLimits;
  return text.length > lineLength ? `${text.slice(0, lineLength)}…` : text;
};

/** Whole lines of the kept bytes; of a first one that was cut only the rest is there, and it is left out when others follow. */
const linesIn = (kept: Buffer, isCut: boolean): string[] => {
  const lines = kept.toString('utf8').split(/\r\n|\n|\r/);
  if (lines.at(-1) === '') lines.pop();
  return isCut && lines.length > 1 ? lines.slice(1) : lines;
};

/**
 * What a process writes, its last part alone. Memory: `hookOutputLimits.bytes` and the last chunk read, 64 KiB at the most.
 */
export class HookOutput {
  readonly #chunks: Buffer[] = [];
  #held = 0;
  #written = 0;

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    this.#written += chunk.length;
    for (;;) {
      const first = this.#chunks[0]?.length ?? 0;
      if (first === 0 || this.#held - first < hookOutputLimits.bytes) return;
      this.#chunks.shift();
      this.#held -= first;
    }
  }

  told(): Pick<HookResult, 'output' | 'droppedBytes'> {
    const kept = Buffer.concat(this.#chunks).subarray(-hookOutputLimits.bytes);
    const lines = linesIn(kept, this.#written > kept.length);
    const last = lines.slice(-hookOutputLimits.lines);
    const lastBytes = last.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
    const isWhole = this.#written === kept.length && last.length === lines.length;
    return { output: last.map(plain), droppedBytes: isWhole ? 0 : Math.max(0, this.#written - lastBytes) };
  }
}
