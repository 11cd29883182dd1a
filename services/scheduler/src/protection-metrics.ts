import { type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
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
  const gauges = {
    casvault_job_vms: 'VMs of backup jobs',
    casvault_protected_vms: 'VMs of backup jobs that have a backup',
    casvault_protected_vms_by_age: 'VMs of backup jobs whose newest backup began at most so many seconds ago',
    casvault_vm_backup_age_seconds:
      'Since the newest backup of a VM began, of the VMs of backup jobs with the oldest ones',
  };
  const options = { meter: 'casvault.scheduler', unread: 'protected VMs are not counted', logger };
  observeGauges(gauges, options, async (observe) => {
    const { vms, protectedVms, ages, oldest } = await protection.read(ageBounds, oldestShown);
    observe('casvault_job_vms', vms);
    observe('casvault_protected_vms', protectedVms);
    for (const age of ages)
      observe('casvault_protected_vms_by_age', age.vms, { up_to_seconds: String(age.upTo) });
    for (const { vmId, vmName, ageSeconds } of oldest)
      observe('casvault_vm_backup_age_seconds', ageSeconds, { vm_id: vmId, vm_name: vmName });
  });
};
