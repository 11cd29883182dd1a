import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId, type RunItemId } from '@casvault/contracts';
import { TestLogger } from '@casvault/testkit';
import { EndedItems } from './ended-items.js';

const dayMs = 86_400_000;
const now = new Date('2026-06-01T00:00:00.000Z');

describe('items that have ended', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ended-items-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const loaded = async (at = now, logger = new TestLogger()): Promise<EndedItems> => {
    const items = new EndedItems(dir);
    await items.load(at, logger);
    return items;
  };

  it('are remembered by the next process, with the first end that was told', async () => {
    const [itemId, other] = [newId<RunItemId>(), newId<RunItemId>()];
    const items = await loaded();
    await items.add(itemId, now);
    await items.add(itemId, new Date(now.getTime() + dayMs));
    const again = await loaded();
    expect(again.get(itemId)).toEqual({ itemId, endedAt: now.toISOString() });
    expect(again.get(other)).toEqual({ itemId: other, endedAt: null });
  });

  it('are forgotten at a start 400 days later, and not before', async () => {
    const itemId = newId<RunItemId>();
    await (await loaded()).add(itemId, now);
    const after = (days: number) => loaded(new Date(now.getTime() + days * dayMs + 1));
    expect((await after(399)).get(itemId).endedAt).toBe(now.toISOString());
    expect((await after(400)).get(itemId).endedAt).toBeNull();
    expect(await readdir(join(dir, 'ended-items'))).toEqual([]);
  });

  it('truncated-instant: a file that lost what it held tells of an end all the same', async () => {
    const itemId = newId<RunItemId>();
    await loaded();
    await writeFile(join(dir, 'ended-items', itemId), '2026-0');
    expect((await loaded()).get(itemId)).toEqual({ itemId, endedAt: now.toISOString() });
  });

  it('foreign-file: what is named after no item is left there and told of; what a killed write left goes', async () => {
    await loaded();
    const folder = join(dir, 'ended-items');
    await writeFile(join(folder, 'notes.txt'), '');
    await writeFile(join(folder, `${newId()}.tmp`), '');
    const logger = new TestLogger();
    await loaded(now, logger);
    expect(logger.lines.map(({ message }) => message)).toEqual([
      'a file among the ended items is named after none',
    ]);
    expect(await readdir(folder)).toEqual(['notes.txt']);
  });
});
