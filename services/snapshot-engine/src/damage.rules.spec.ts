import { newId, type Verification, type VerificationId, type VerificationMark } from '@casvault/contracts';
import { markAfter, mayBeDamaged } from './damage.rules.js';

const at = (minute: number): string => `2026-01-01T00:0${String(minute)}:00.000Z`;

const mark = (
  state: VerificationMark['state'],
  depth: VerificationMark['depth'],
  minute: number,
): VerificationMark => ({ id: newId<VerificationId>(), depth, state, at: at(minute) });

const ended = (
  state: Verification['state'],
  depth: Verification['depth'],
  [from, to]: readonly [number, number],
): Verification =>
  ({ id: newId<VerificationId>(), depth, state, createdAt: at(from), finishedAt: at(to) }) as Verification;

describe('what a point bears of its verifications', () => {
  it('E8: damage is borne at once, whatever was found before', () => {
    const damaged = ended('damaged', 'stored', [1, 2]);
    for (const borne of [null, mark('sound', 'content', 1), mark('damaged', 'content', 1)])
      expect(markAfter(borne, damaged)).toEqual({
        id: damaged.id,
        depth: 'stored',
        state: 'damaged',
        at: at(2),
      });
  });

  it('E8: one that says nothing takes nothing back', () => {
    const borne = mark('damaged', 'stored', 1);
    for (const state of ['failed', 'stopped'] as const)
      expect(markAfter(borne, ended(state, 'content', [2, 3]))).toBe(borne);
    expect(markAfter(null, ended('failed', 'content', [2, 3]))).toBeNull();
  });

  it.each([
    ['stored', 'stored', [2, 3], 'sound'],
    ['stored', 'content', [2, 3], 'sound'],
    ['content', 'content', [2, 3], 'sound'],
    // It did not look as deep.
    ['content', 'stored', [2, 3], 'damaged'],
    // It ran when the damage was found, and may have read before it was there.
    ['stored', 'content', [0, 3], 'damaged'],
  ] as const)('E8: damage found by %s, then sound by %s in minutes %j: %s', (found, by, minutes, state) => {
    expect(markAfter(mark('damaged', found, 1), ended('sound', by, minutes))?.state).toBe(state);
  });
});

describe('a chain in which damage was found', () => {
  const damage = mark('damaged', 'content', 2);
  it.each([
    ['no damage, never verified', null, [], false],
    ['damage in an older point, the newest never verified', null, [damage], true],
    ['damage in the newest', damage, [damage], true],
    ['found sound after that, as deep', mark('sound', 'content', 3), [damage], false],
    ['found sound after that, not as deep', mark('sound', 'stored', 3), [damage], true],
    ['found sound before that', mark('sound', 'content', 1), [damage], true],
    [
      'one damage of two disproved',
      mark('sound', 'content', 3),
      [damage, mark('damaged', 'stored', 4)],
      true,
    ],
  ] as const)('E8: %s', (_, newest, found, expected) => {
    expect(mayBeDamaged(newest, found)).toBe(expected);
  });
});
