import { type JobDefinition } from '@casvault/contracts';
import { type Parallel } from './run.js';

/** What one run of a job may do at once. */
interface RunParallel extends Parallel {
  /** Disks of one VM. */
  readonly disksPerVm: number;
  readonly streamsPerDisk: number;
}

/**
 * F5: in a restore every disk that is written takes a channel. A VM takes as many as disks of it are written at once, at most all;
 * so many VMs are let in that the channels suffice, whatever disks they have. Points of a verification count as VMs, without hosts
 * (E8); those of a copy too, with their chain for a host: one of it at a time (E7).
 */
export const parallelOf = ({ parallel }: Pick<JobDefinition, 'parallel'>): RunParallel => {
  if ('points' in parallel) {
    const { points: vms } = parallel;
    if (!('disksPerVm' in parallel)) return { vms, vmsPerHost: vms, disksPerVm: 1, streamsPerDisk: 1 };
    return { vms, vmsPerHost: 1, disksPerVm: parallel.disksPerVm, streamsPerDisk: parallel.streamsPerDisk };
  }
  const { vms, vmsPerHost, streamsPerDisk } = parallel;
  if (!('channels' in parallel)) return parallel;
  const { channels } = parallel;
  const disksPerVm = Math.min(parallel.disksPerVm, channels);
  return { vms: Math.min(vms, Math.floor(channels / disksPerVm)), vmsPerHost, disksPerVm, streamsPerDisk };
};
