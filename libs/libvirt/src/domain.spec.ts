import { parseDomain, parseDomainNames, parseDomainStates } from './domain.js';

const xml = `<domain type='kvm' id='7'>
  <name>a &amp; b's</name><uuid>08233862-411c-4f09-974f-9c3cf8e5295c</uuid>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='/vms/a&lt;1&gt;.qcow2' index='2'/><backingStore/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw'/><source dev='/dev/vg/lv'><encryption format='luks'/></source>
      <target dev='sda' bus='scsi'/><readonly/><shareable/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/><source protocol='rbd' name='pool/image'/><target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
  </devices>
</domain>`;

describe('a domain', () => {
  test('is read from what libvirt prints', () => {
    const domain = parseDomain(xml, 'running');
    expect(domain).toMatchObject({
      uuid: '08233862-411c-4f09-974f-9c3cf8e5295c',
      name: "a & b's",
      state: 'running',
    });
    expect(domain.disks).toEqual([
      {
        target: 'vda',
        path: '/vms/a<1>.qcow2',
        format: 'qcow2',
        bus: 'virtio',
        device: 'disk',
        fileType: 'file',
        readOnly: false,
        shareable: false,
        encrypted: false,
      },
      {
        target: 'sda',
        path: '/dev/vg/lv',
        format: 'raw',
        bus: 'scsi',
        device: 'disk',
        fileType: 'block',
        readOnly: true,
        shareable: true,
        encrypted: true,
      },
      expect.objectContaining({ target: 'vdb', path: 'pool/image', fileType: 'network' }),
      expect.objectContaining({ target: 'hdc', path: null, format: 'raw', device: 'cdrom' }),
    ]);
  });

  test('with one disk or none', () => {
    const head = '<domain><name>7</name><uuid>u</uuid>';
    expect(parseDomain(`${head}</domain>`, 'shut-off')).toMatchObject({ name: '7', disks: [] });
    const one = `${head}<devices><disk type='file' device='disk'><target dev='vda'/></disk></devices></domain>`;
    expect(parseDomain(one, 'shut-off').disks).toHaveLength(1);
  });

  test.each(['', 'no XML', '<network/>', '<domain/>', '<domain'])('is refused as %p', (text) => {
    expect(() => parseDomain(text, 'running')).toThrow(
      expect.objectContaining({ code: 'LIBVIRT_FAILED' }) as Error,
    );
  });
});

describe('lists of domains', () => {
  test('names and states survive odd names', () => {
    const names = parseDomainNames(
      "08233862-411c-4f09-974f-9c3cf8e5295c vm one's  two \n18233862-411c-4f09-974f-9c3cf8e5295c 12\n\n",
    );
    expect([...names]).toEqual([
      ['08233862-411c-4f09-974f-9c3cf8e5295c', "vm one's  two"],
      ['18233862-411c-4f09-974f-9c3cf8e5295c', '12'],
    ]);
    const states = parseDomainStates(
      "Domain: 'vm one's'\n  state.state=1\n  state.reason=1\n\nDomain: '12'\n  state.state=5\nDomain: 'new'\n  state.state=99\n",
    );
    expect([...states]).toEqual([
      ["vm one's", 'running'],
      ['12', 'shut-off'],
      ['new', 'no-state'],
    ]);
  });
});
