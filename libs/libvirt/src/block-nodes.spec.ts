import { parseBlockNodes } from './block-nodes.js';

const bitmap = { name: 'b', recording: true, persistent: true, busy: false, granularity: 65536, count: 0 };

describe('the block nodes of a QEMU', () => {
  test('are told with their file and bitmaps', () => {
    const reply = [
      { 'node-name': 'n1', drv: 'qcow2', file: '/vms/a', 'dirty-bitmaps': [bitmap] },
      {
        drv: 'qcow2',
        file: '/vms/b',
        'dirty-bitmaps': [{ ...bitmap, recording: false, inconsistent: true }],
      },
      { drv: 'file', file: '/vms/a' },
    ];
    const parsed = { name: 'b', recording: true, persistent: true, busy: false, granularityBytes: 65536 };
    expect(parseBlockNodes(reply)).toEqual([
      { driver: 'qcow2', file: '/vms/a', bitmaps: [{ ...parsed, inconsistent: false }] },
      { driver: 'qcow2', file: '/vms/b', bitmaps: [{ ...parsed, recording: false, inconsistent: true }] },
      { driver: 'file', file: '/vms/a', bitmaps: [] },
    ]);
  });

  test.each([
    ['json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/vms/a"}}', '/vms/a'],
    ['json:{"driver": "qcow2", "file": {"driver": "fi', null],
    ['json:7', null],
    ['nbd://host/export', null],
    ['', null],
  ])('%s lies in %s', (file, expected) => {
    expect(parseBlockNodes([{ drv: 'qcow2', file }])[0]!.file).toBe(expected);
  });

  test.each([null, 7, {}, [7, null]])('%j is none', (reply) => {
    expect(parseBlockNodes(reply)).toEqual([]);
  });
});
