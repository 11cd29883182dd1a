import { DiskServiceClient } from '@casvault/block-source';
import { CasClient } from '@casvault/cas-client';
import { Edge } from './edge.js';

describe('the edge of the world', () => {
  let edge: Edge;
  let cvm: CasClient;
  beforeAll(async () => {
    edge = await Edge.start(1_001);
    const { address, cvmPort: port } = edge;
    cvm = new CasClient({ address, port, ssl: false, sslIgnoreErrors: false, userName: 'u', password: 'p' });
  });
  afterAll(async () => {
    cvm.close();
    await edge.stop();
  });

  it('is a CVM that the client takes, with all its hosts', async () => {
    expect(await cvm.probe()).toMatchObject({ release: 'E0780', architecture: 'x86_64' });
    expect(await cvm.hosts()).toHaveLength(11);
    expect((await cvm.storagePools('11'))[0]).toMatchObject({ name: 'defaultpool', active: true });
    expect(await cvm.virtualSwitches('1')).toHaveLength(1);
    expect([await cvm.networkProfiles(), await cvm.templates()]).toEqual([[], []]);
  });

  it('lists every VM once, and describes each', async () => {
    const vms = await cvm.vms();
    expect(new Set(vms.map(({ uuid }) => uuid)).size).toBe(1_001);
    const last = vms.at(-1)!;
    expect(await cvm.vmByUuid(last.uuid)).toEqual(last);
    const { detail } = await cvm.vm('1000');
    expect(detail.disks.map(({ target, sizeBytes }) => [target, sizeBytes / 2 ** 30])).toEqual([
      ['vda', 40],
      ['vdb', 100],
    ]);
    expect(detail.nics.map(({ mac }) => mac)).toEqual(['0c:da:41:00:03:e8']);
    await expect(cvm.vm('1002')).rejects.toMatchObject({ code: 'VM_NOT_FOUND' });
  });

  it('has disk services that offer the live export', async () => {
    const url = `http://${edge.address}:${edge.diskServicePort}`;
    expect(await new DiskServiceClient({ url, token: 't' }).health()).toMatchObject({ liveExport: true });
  });
});
