import { Fault } from '@casvault/contracts';
import { deleteOnce } from './vm-deletion.js';

const row = { externalId: '7', uuid: 'u' };
const { signal } = new AbortController();
const unknown = new Fault('VM_NOT_FOUND', 'the CVM knows no such VM');
const cvm = (isThere: boolean, ...failures: Fault[]) => ({
  deleteVm: async (): Promise<void> => {
    const [failure] = failures;
    if (failure !== undefined) throw failure;
  },
  vmByUuid: async () => (isThere ? ({ ...row } as never) : null),
});

describe('the deletion of a VM', () => {
  it('is done when an earlier try was faster', async () => {
    await expect(deleteOnce(cvm(false, unknown), row, true, signal)).resolves.toBeUndefined();
    await expect(deleteOnce(cvm(false), row, true, signal)).resolves.toBeUndefined();
  });

  it('has failed while the VM is there', async () => {
    const failed = new Fault('PLATFORM_TASK_FAILED', 'no');
    await expect(deleteOnce(cvm(true, failed), row, true, signal)).rejects.toBe(failed);
  });
});
