import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId, type TransferId } from '@casvault/contracts';
import { ManualClock, TestLogger } from '@casvault/testkit';
import { both, TransferLogs } from './transfer-logs.js';

describe('logs of transfers', () => {
  let dir: string;
  const clock = new ManualClock('2026-03-01T12:00:00Z');
  const logger = new TestLogger();
  const logsOf = (keep = 3, keepDays = 30, at = dir) =>
    new TransferLogs({ dir: at, keep, keepDays }, { clock, logger });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'transfer-logs-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const written = async (level: 'info' | 'warn' | 'error', logs = logsOf()): Promise<string> => {
    const log = await logs.open(newId<TransferId>(), level);
    log?.logger.info({ token: 'not-to-be-told' }, 'claimed');
    log?.logger.warn({}, 'interrupted');
    log?.logger.error({}, 'failed');
    await log?.close();
    const [name] = (await readdir(dir)).sort().slice(-1);
    return readFile(join(dir, name!), 'utf8');
  };
  const messages = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { msg: string }).msg);

  it.each([
    ['info', ['claimed', 'interrupted', 'failed']],
    ['warn', ['interrupted', 'failed']],
    ['error', ['failed']],
  ] as const)('have nothing below %s, and no secret', async (level, expected) => {
    const text = await written(level);
    expect(messages(text)).toEqual(expected);
    expect(text).not.toContain('not-to-be-told');
  });

  it('stay in number, and go with age; nothing else in the folder is touched', async () => {
    await writeFile(join(dir, 'notes.log'), '');
    for (let i = 0; i < 5; i += 1) {
      await clock.advance(1_000);
      await written('info');
    }
    const names = (await readdir(dir)).sort();
    expect(names).toHaveLength(4);
    expect(names[0]).toMatch(/^2026-03-01T120003Z-/);
    const old = new Date('2026-01-01T00:00:00Z');
    for (const name of names) await utimes(join(dir, name), old, old);
    await clock.advance(1_000);
    await written('info', logsOf(10));
    expect((await readdir(dir)).filter((name) => name !== 'notes.log')).toHaveLength(1);
    expect(await readdir(dir)).toContain('notes.log');
  });

  it('end at 4 MiB', async () => {
    const log = await logsOf().open(newId<TransferId>(), 'info');
    for (let i = 0; i < 50; i += 1) log?.logger.info({ text: 'x'.repeat(100_000) }, 'long');
    await log?.close();
    const [name] = await readdir(dir);
    expect((await readFile(join(dir, name!))).length).toBeLessThanOrEqual(4 * 1_048_576);
  });

  it('that cannot be opened are told of, and nothing more', async () => {
    await writeFile(join(dir, 'file'), '');
    expect(await logsOf(3, 30, join(dir, 'file', 'logs')).open(newId<TransferId>(), 'info')).toBeNull();
    expect(logger.lines.at(-1)).toMatchObject({ level: 'warn', message: 'transfer log not opened' });
  });

  it('tell what the service tells', () => {
    const [one, other] = [new TestLogger(), new TestLogger()];
    const all = both(one, other);
    for (const level of ['debug', 'info', 'warn', 'error'] as const) all[level]({ level }, 'said');
    expect(one.lines).toHaveLength(4);
    expect(other.lines).toEqual(one.lines);
  });
});
