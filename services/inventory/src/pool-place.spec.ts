import { type Pool, type PoolLocation, poolLocationSchema } from '@casvault/contracts';
import { judgeLocation, placeOf, poolView } from './pool-place.js';

const s3 = (fields: object = {}): PoolLocation =>
  poolLocationSchema.parse({
    kind: 's3',
    endpoint: 'http://s3.example:7480',
    bucket: 'backups',
    accessKeyId: 'key',
    secretKey: 'sealed:v1:secret',
    ...fields,
  });

describe('where pools lie', () => {
  it('knows one place by its different spellings', () => {
    expect(placeOf({ kind: 'fs', path: '/pool/a/' })).toBe(placeOf({ kind: 'fs', path: '/pool//b/../a' }));
    expect(placeOf(s3({ prefix: '/x/' }))).toBe(placeOf(s3({ prefix: 'x' })));
    expect(placeOf(s3())).not.toBe(placeOf(s3({ prefix: 'x' })));
  });
  it('E1 is a directory, E3 a bucket', () => {
    expect(() => judgeLocation('standard', s3())).toThrow(/directory/);
    expect(() => judgeLocation('object', { kind: 'fs', path: '/a' })).toThrow(/bucket/);
    expect(() => judgeLocation('standard', { kind: 'fs', path: '/' })).toThrow(/root/);
    expect(() => judgeLocation('object', s3())).not.toThrow();
  });
  it('C6: shows no secret', () => {
    const pool = { id: 'i', name: 'n', type: 'object', location: s3(), createdAt: '' } as unknown as Pool;
    const view = JSON.stringify(poolView(pool, { capacityBytes: null, freeBytes: null }));
    expect(view).not.toContain('secret');
    expect(view).toContain('backups');
  });
});
