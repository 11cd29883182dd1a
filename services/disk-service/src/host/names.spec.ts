import { newId, type OpeningId } from '@casvault/contracts';
import { serverArguments } from './image-server.js';
import { openingOfScratch, pidFile, scratchFile } from './names.js';
import { isBelow } from './volume-path.js';

const folders = { scratchDir: '/s', stateDir: '/st' };
const id = newId<OpeningId>();

describe('names on the host', () => {
  test('a scratch file proves its opening', () => {
    expect(openingOfScratch(folders, scratchFile(folders, id, 'vda'))).toBe(id);
  });
  test.each([
    `/other/casvault-${id}-vda.qcow2`,
    `/s/sub/casvault-${id}-vda.qcow2`,
    `/s/casvault-${id}-vda.qcow2.old`,
    '/s/casvault-not-an-id-of-any-opening-of-ours-vda.qcow2',
    '/s/vm.qcow2',
    '',
  ])('%p is none of ours', (path) => {
    expect(openingOfScratch(folders, path)).toBeNull();
  });
});

describe('a server of an image', () => {
  const image = {
    name: `${id}-vda`,
    path: '/vms/-a',
    format: 'raw',
    exportName: 'vda',
    address: '10.0.0.1',
    port: 10_000,
    frozen: null,
  } as const;

  test('reads past the page cache, and carries the proof that it is ours', () => {
    const args = serverArguments(folders, { ...image, writable: false, bitmap: 'c' }, null, 'none');
    expect(args).toEqual([
      '--fork',
      `--pid-file=${pidFile(folders, image.name)}`,
      '--persistent',
      '--shared=32',
      '--bind=10.0.0.1',
      '--port=10000',
      '--export-name=vda',
      '--cache=none',
      '--read-only',
      '--aio=native',
      '--bitmap=c',
      '--format=raw',
      '--',
      '/vms/-a',
    ]);
  });

  test.each([
    ['/vms/a,b', { snapshotId: '7', isBlock: false }, 'file', '/vms/a,,b'],
    ['/dev/x', { snapshotId: null, isBlock: true }, 'host_device', '/dev/x'],
  ])('reads what is frozen in %s beside the VM that has it open', (path, frozen, driver, named) => {
    const args = serverArguments(
      folders,
      { ...image, path, format: 'qcow2', frozen, writable: false, bitmap: null },
      null,
      'none',
    );
    expect(args.includes('--load-snapshot=snapshot.id=7')).toBe(frozen.snapshotId !== null);
    expect(args).toContain('--read-only');
    expect(args.slice(-3)).toEqual([
      '--image-opts',
      '--',
      `driver=qcow2,force-share=on,file.driver=${driver},file.filename=${named}`,
    ]);
  });

  test('has no native AIO through the page cache', () => {
    const args = serverArguments(folders, { ...image, writable: false, bitmap: null }, null, 'writeback');
    expect(args).toEqual(expect.arrayContaining(['--cache=writeback', '--aio=threads']));
  });

  test('writes past the page cache, and asks for certificates when TLS is on', () => {
    const args = serverArguments(folders, { ...image, writable: true, bitmap: 'c' }, '/pki', 'none');
    expect(args).toContain('--bitmap=c');
    expect(args).toEqual(expect.arrayContaining(['--cache=none', '--discard=unmap', '--detect-zeroes=off']));
    expect(args).toEqual(expect.arrayContaining(['--tls-creds=tls0']));
    expect(args).toContain('tls-creds-x509,id=tls0,endpoint=server,verify-peer=on,dir=/pki');
    expect(args).not.toContain('--read-only');
  });
});

test.each([
  ['/vms/a', ['/vms'], true],
  ['/vms/a', ['/vms/'], true],
  ['/vms', ['/vms'], false],
  ['/vmsx/a', ['/vms'], false],
  ['/etc/passwd', ['/vms', '/data'], false],
  ['/data/x/y', ['/vms', '/data'], true],
  ['/etc/passwd', [], false],
])('%s below %p: %p', (path, dirs, expected) => {
  expect(isBelow(path, dirs)).toBe(expected);
});
