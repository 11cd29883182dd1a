import { newId, type OpeningId } from '@casvault/contracts';
import { checkpointNote, parseCheckpointNote } from './checkpoint-note.js';

const id = newId<OpeningId>();

describe('the note with a checkpoint', () => {
  test('tells who made it, and the sizes of the disks then', () => {
    const disks = [
      { target: 'vda', sizeBytes: 4096 },
      { target: 'vdb', sizeBytes: 2 ** 53 - 1 },
    ];
    const note = parseCheckpointNote(checkpointNote(id, disks));
    expect(note.madeBy).toBe(id);
    expect([...note.sizes]).toEqual(disks.map(({ target, sizeBytes }) => [target, sizeBytes]));
  });

  test('without sizes still proves its maker', () => {
    expect(parseCheckpointNote(`casvault opening ${id}`)).toEqual({ madeBy: id, sizes: new Map() });
  });

  test.each(['', 'nightly', 'casvault opening', 'casvault opening 17 vda=4096', `x casvault opening ${id}`])(
    '%j is none of ours',
    (description) => {
      expect(parseCheckpointNote(description)).toEqual({ madeBy: null, sizes: new Map() });
    },
  );
});
