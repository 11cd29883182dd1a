import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { ConfigProblems, readConfig, serviceShape } from './config-reader.js';

const schema = z.object({
  A_TEXT: z.string().min(3, 'must have 3 characters'),
  A_NUMBER: z.coerce.number().int().default(7),
  A_SECRET: z.string().optional(),
});
const problemsOf = (read: () => unknown): readonly string[] => {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigProblems) return error.problems;
    throw error;
  }
  return [];
};

describe('the environment', () => {
  const dir = mkdtempSync(join(tmpdir(), 'casvault-config-'));
  const file = join(dir, 'secret');
  writeFileSync(file, 'from a file\n');
  afterAll(() => rmSync(dir, { recursive: true }));

  it('is read with defaults; empty means not set', () => {
    expect(readConfig(schema, { A_TEXT: 'text', A_NUMBER: '', OTHER: 'x' })).toEqual({
      A_TEXT: 'text',
      A_NUMBER: 7,
    });
    expect(readConfig(schema, { A_TEXT: 'text', A_NUMBER: '12' }).A_NUMBER).toBe(12);
  });

  it('may name files instead of values', () => {
    expect(readConfig(schema, { A_TEXT: 'text', A_SECRET_FILE: file }).A_SECRET).toBe('from a file');
    expect(readConfig(schema, { A_TEXT_FILE: file }).A_TEXT).toBe('from a file');
  });

  it('is refused with every problem at once, without values', () => {
    const problems = problemsOf(() =>
      readConfig(schema, {
        A_TEXT: 'ab',
        A_NUMBER: 'many',
        A_SECRET: 'hush',
        A_SECRET_FILE: file,
      }),
    );
    expect(problems).toHaveLength(3);
    expect(problems.join('\n')).toMatch(/A_TEXT: must have 3 characters/);
    expect(problems.join('\n')).toMatch(/A_NUMBER: /);
    expect(problems.join('\n')).toMatch(/A_SECRET: set either A_SECRET or A_SECRET_FILE/);
    expect(problems.join('\n')).not.toMatch(/hush|many/);
  });

  it('says which variable is missing and which file is unreadable, each once', () => {
    const missing = join(dir, 'missing');
    expect(problemsOf(() => readConfig(schema, {}))).toEqual(['A_TEXT: is not set']);
    expect(problemsOf(() => readConfig(schema, { A_TEXT_FILE: missing }))).toEqual([
      `A_TEXT_FILE: ENOENT at ${missing}`,
    ]);
  });

  it('of every service is checked', () => {
    const good = {
      CASVAULT_NATS_URL: 'nats://user:pass@one:4222,tls://two:4222',
      CASVAULT_SEALING_KEY: Buffer.alloc(32, 1).toString('base64'),
    };
    expect(readConfig(z.object(serviceShape), good)).toMatchObject({
      CASVAULT_NATS_REPLICAS: 1,
      CASVAULT_HTTP_ADDRESS: '127.0.0.1',
      CASVAULT_LOG_LEVEL: 'info',
      CASVAULT_DRAIN_SECONDS: 20,
    });
    const short = { ...good, CASVAULT_SEALING_KEY: Buffer.alloc(31, 1).toString('base64') };
    expect(problemsOf(() => readConfig(z.object(serviceShape), short))).toHaveLength(1);
    const bad = { ...good, CASVAULT_NATS_URL: 'http://one', CASVAULT_LOG_LEVEL: 'loud' };
    expect(problemsOf(() => readConfig(z.object(serviceShape), bad))).toHaveLength(2);
  });
});
