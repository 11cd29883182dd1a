import { Writable } from 'node:stream';
import { Fault } from '@casvault/contracts';
import { createLogger } from './logger.js';

const logged = (level: string) => {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  return { lines, logger: createLogger({ name: 'test', level }, sink) };
};

describe('the log', () => {
  it('is one JSON object a line with level, service and time', () => {
    const { lines, logger } = logged('info');
    logger.info({ vm: 'vm1' }, 'captured');
    logger.debug({}, 'not seen');
    expect(lines).toEqual([
      {
        level: 'info',
        service: 'test',
        vm: 'vm1',
        msg: 'captured',
        time: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      },
    ]);
  });

  it('holds no secrets, at any of three depths', () => {
    const { lines, logger } = logged('info');
    const secret = { password: 'hush', token: 'hush', secretKey: 'hush', authorization: 'hush' };
    logger.info({ ...secret, pool: { ...secret, s3: secret } }, 'x');
    expect(JSON.stringify(lines)).not.toMatch(/hush/);
  });

  it('tells a fault with its code, details and cause', () => {
    const { lines, logger } = logged('info');
    const fault = new Fault('POOL_FULL', 'no space', { details: { free: 0 }, cause: new Error('ENOSPC') });
    logger.warn({ err: fault }, 'failed');
    expect(lines[0]?.['err']).toMatchObject({ code: 'POOL_FULL', details: { free: 0 } });
    expect(JSON.stringify(lines[0])).toMatch(/no space.*ENOSPC/);
  });
});
