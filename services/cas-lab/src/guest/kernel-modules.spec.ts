import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { collectModules, dependenciesOf } from './kernel-modules.js';

const note = (depends: string): Buffer => Buffer.from(`ELF\0license=GPL\0depends=${depends}\0name=x\0`);

describe('kernel modules', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'cas-lab-modules-'));
    await mkdir(join(dir, 'drivers'));
    await writeFile(join(dir, 'drivers/virtio-pci.ko'), note('virtio,virtio-ring'));
    await writeFile(join(dir, 'drivers/virtio.ko.zst'), zstdCompressSync(note('virtio-ring')));
    await writeFile(join(dir, 'virtio_ring.ko'), note(''));
  });
  afterEach(async () => rm(dir, { recursive: true }));

  it('come after what they depend on, once each, whatever dash their names have', async () => {
    const found = await collectModules(dir, ['virtio_pci', 'virtio', 'built_in']);
    expect(found.map((one) => one.name)).toEqual(['virtio_ring', 'virtio', 'virtio_pci']);
  });

  it('are unpacked', async () => {
    const [, virtio] = await collectModules(dir, ['virtio']);
    expect(virtio?.content.equals(note('virtio-ring'))).toBe(true);
  });

  it('may depend on nothing', () => {
    expect(dependenciesOf(note(''))).toEqual([]);
    expect(dependenciesOf(Buffer.from('no note'))).toEqual([]);
  });
});
