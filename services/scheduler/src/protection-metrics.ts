import { type Logger } from '@casvault/contracts';
import { metrics } from '@opentelemetry/api';
import { type ProtectionStore } from './protection-store.js';

const hour = 3_600;
/** Ages by which protected VMs are counted, in seconds: 1, 4, 12, 26 hours, 2, 8 and 32 days. */
const ageBounds = [hour, 4 * hour, 12 * hour, 26 * hour, 48 * hour, 192 * hour, 768 * hour];
/** Only so many VMs have a series of their own, whatever the number of VMs: those whose backup is the oldest. */
const oldestShown = 20;

/**
 * `casvault_job_vms`, `casvault_protected_vms`, `casvault_protected_vms_by_age{up_to_seconds}` (each holds those before it) and
 * `casvault_vm_backup_age_seconds{vm_id,vm_name}` of the 20 oldest.
 */
export const observeProtection = (protection: ProtectionStore, logger: Logger): void => {
  const meter = metrics.getMeter('casvault.scheduler');
  const vms = meter.createObservableGauge('casvault_job_vms', { description: 'VMs of backup jobs' });
  const protectedVms = meter.createObservableGauge('casvault_protected_vms', {
    description: 'VMs of backup jobs that have a backup',
  });
  const byAge = meter.createObservableGauge('casvault_protected_vms_by_age', {
    description: 'VMs of backup jobs whose newest backup began at most so many seconds ago',
  });
  const oldest = meter.createObservableGauge('casvault_vm_backup_age_seconds', {
    description: 'Since the newest backup of a VM began, of the VMs of backup jobs with the oldest ones',
  });
  meter.addBatchObservableCallback(
    async (result) => {
      try {
        const read = await protection.read(ageBounds, oldestShown);
        result.observe(vms, read.vms);
        result.observe(protectedVms, read.protectedVms);
        for (const age of read.ages) result.observe(byAge, age.vms, { up_to_seconds: String(age.upTo) });
        for (const { vmId, vmName, ageSeconds } of read.oldest)
          result.observe(oldest, ageSeconds, { vm_id: vmId, vm_name: vmName });
      } catch (error) {
        logger.warn({ err: error }, 'protected VMs are not counted');
      }
    },
    [vms, protectedVms, byAge, oldest],
  );
};
