import { hookOutputLimits } from '@casvault/contracts';
import fc from 'fast-check';
import { HookOutput } from './hook-output.js';

const told = (...chunks: (string | Buffer)[]) => {
  const output = new HookOutput();
  for (const chunk of chunks) output.add(Buffer.from(chunk));
  return output.told();
};

describe('what a script writes', () => {
  it('is told in lines, however it comes', () => {
    expect(told('fro', 'zen\nof', ' 2 VMs\r\n')).toEqual({ output: ['frozen', 'of 2 VMs'], droppedBytes: 0 });
    expect(told('')).toEqual({ output: [], droppedBytes: 0 });
    expect(told('虚拟', '机')).toMatchObject({ output: ['虚拟机'] });
    const split = Buffer.from('虚\n');
    expect(told(split.subarray(0, 1), split.subarray(1))).toMatchObject({ output: ['虚'] });
  });

  it('bears nothing that moves a cursor, hides or reorders what is read', () => {
    const wild = '\u001b[31mred\u001b[0m\u0007 a\tb \u202egnp.exe\u0000\u009b1m';
    expect(told(wild).output).toEqual(['red a b gnp.exe1m']);
  });

  it('is bounded: its last bytes, its last lines, the beginning of a long one', () => {
    const { output, droppedBytes } = told(`first\n${'x\n'.repeat(50_000)}last\n`);
    expect(output).toHaveLength(hookOutputLimits.lines);
    expect(output.at(-1)).toBe('last');
    expect(droppedBytes).toBe(6 + 100_000 + 5 - (499 * 2 + 5));
    const [line = ''] = told('y'.repeat(5_000)).output;
    expect(line).toHaveLength(hookOutputLimits.lineLength + 1);
    const big = told('a'.repeat(70_000), `\n${'b'.repeat(60_000)}\nend\n`);
    expect(big.output.map((one) => one.slice(0, 3))).toEqual(['bbb', 'end']);
    expect(big.droppedBytes).toBe(70_001);
  });

  it('never holds more than its bound and one chunk', () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 40_000 }), { maxLength: 12 });
    fc.assert(
      fc.property(chunks, (parts) => {
        const { output } = told(...parts.map((part) => Buffer.from(part)));
        expect(output.length).toBeLessThanOrEqual(hookOutputLimits.lines);
        for (const line of output) expect(line.length).toBeLessThanOrEqual(hookOutputLimits.lineLength + 1);
        expect(output.join('')).not.toMatch(/\p{Cc}/u);
      }),
      { numRuns: 50 },
    );
  });
});
