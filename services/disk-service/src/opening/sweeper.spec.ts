import { newId, type OpeningId } from '@casvault/contracts';
import type { OpeningRecord } from './record.js';
import { dueActions } from './sweeper.js';

const now = new Date('2026-01-01T00:00:10.000Z');
const record = (more: Partial<OpeningRecord>): OpeningRecord => ({
  version: 1,
  openingId: newId<OpeningId>(),
  request: { kind: 'volume', path: '/vms/a', format: 'raw', sizeBytes: 1, leaseSeconds: 60 },
  state: 'open',
  method: 'live',
  address: '127.0.0.1',
  tls: false,
  openedAt: '2026-01-01T00:00:00.000Z',
  leaseUntil: '2026-01-01T00:01:00.000Z',
  checkpoint: null,
  consistency: 'crash',
  reasons: [],
  mayBeFrozen: false,
  keepCheckpoint: false,
  lostBecause: null,
  interrupted: false,
  keepUntil: null,
  disks: [],
  ...more,
});
const roomy = { freeBytes: 100, reserveBytes: 10 };
const tight = { freeBytes: 9, reserveBytes: 10 };

describe('what is due', () => {
  test('an open lease in force: nothing', () => {
    expect(dueActions([record({})], now, roomy, true)).toEqual([]);
  });

  test.each(['live', 'offline', 'write'] as const)(
    'a %s opening whose lease ended is lost, unless renewed',
    (method) => {
      const over = record({ method, leaseUntil: '2026-01-01T00:00:10.000Z' });
      expect(dueActions([over], now, roomy, false)).toEqual([
        {
          do: 'lose',
          openingId: over.openingId,
          why: 'its lease ran out at 2026-01-01T00:00:10.000Z',
          unlessRenewed: true,
        },
      ]);
    },
  );

  test('live captures go before the scratch folder is full; others need none', () => {
    const live = record({});
    const actions = dueActions(
      [live, record({ method: 'offline' }), record({ method: 'write' })],
      now,
      tight,
      false,
    );
    expect(actions).toEqual([
      expect.objectContaining({ do: 'lose', openingId: live.openingId, unlessRenewed: false }),
    ]);
  });

  test('what is not open is tidied, every so often', () => {
    const others = (['opening', 'closing', 'closed', 'lost'] as const).map((state) => record({ state }));
    expect(dueActions(others, now, tight, false)).toEqual([]);
    expect(dueActions(others, now, tight, true)).toEqual(
      others.map(({ openingId }) => ({ do: 'tidy', openingId })),
    );
  });
});
