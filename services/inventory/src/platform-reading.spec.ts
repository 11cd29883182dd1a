import { type CasVm, type CasVmRow } from '@casvault/cas-client';
import { Fault } from '@casvault/contracts';
import { readOneVm } from './platform-reading.js';

describe('reading one VM', () => {
  const row = { uuid: 'u', externalId: '7' } as CasVmRow;
  const vms = new Map([
    ['7', { configuration: { id: 7 } } as unknown as CasVm],
    ['8', { configuration: { id: 8 } } as unknown as CasVm],
  ]);
  const { signal } = new AbortController();
  let asked: string[];
  const cvm = (found: CasVmRow | null) => ({
    vmByUuid: () => Promise.resolve(found),
    vm: async (id: string): Promise<CasVm> => {
      asked.push(id);
      const vm = vms.get(id);
      if (vm === undefined) throw new Fault('VM_NOT_FOUND', `no VM ${id}`);
      return Promise.resolve(vm);
    },
  });
  beforeEach(() => {
    asked = [];
  });

  it('asks for the details once when the id still holds', async () => {
    const read = await readOneVm(cvm(row), { uuid: 'u', presumedId: '7' }, signal);
    expect(read).toEqual({ row, configuration: { id: 7 } });
    expect(asked).toEqual(['7']);
  });

  it.each(['8', '9', undefined])('never takes the details of another VM: presumed %s', async (presumedId) => {
    const read = await readOneVm(cvm(row), { uuid: 'u', presumedId }, signal);
    expect(read).toEqual({ row, configuration: { id: 7 } });
  });

  it('is null when the platform has it no more', async () => {
    expect(await readOneVm(cvm(null), { uuid: 'u', presumedId: '7' }, signal)).toBeNull();
  });

  it('fails with what the CVM says of the right one', async () => {
    const gone = { ...row, externalId: '9' };
    const read = readOneVm(cvm(gone), { uuid: 'u', presumedId: '9' }, signal);
    await expect(read).rejects.toMatchObject({ code: 'VM_NOT_FOUND' });
  });
});
