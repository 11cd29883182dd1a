import { setTimeout as sleep } from 'node:timers/promises';
import { type Machines } from '../platform/machines.js';
import { type Snapshots } from '../platform/snapshots.js';
import { type PlatformState, type StateFile, type VmRecord } from '../platform/state.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { type TaskBoard, type TaskOutcome, type TaskPlan } from '../rest/task-board.js';
import { type Fields } from '../rest/shape.js';
import { type LabHost } from '../host/lab-host.js';
import { type Settings } from './settings.js';

/** Everything that the CVM's calls work on. */
export class Platform {
  constructor(
    readonly hosts: ReadonlyMap<number, LabHost>,
    readonly machines: Machines,
    readonly snapshots: Snapshots,
    readonly file: StateFile,
    readonly tasks: TaskBoard,
    readonly clock: () => Date,
    public settings: Settings,
  ) {}

  get state(): PlatformState {
    return this.file.state;
  }

  /** Begins a task on a machine. A template is refused: it has no runtime and stays as it is. */
  onVm(
    vm: VmRecord,
    plan: Pick<TaskPlan, 'name' | 'eventType'>,
    work: () => Promise<TaskOutcome | void>,
  ): Fields {
    if (vm.isTemplate) throw new CasError(casErrorCodes.unknown, `${vm.name} 是虚拟机模板，不允许此操作。`);
    return this.begin({ ...plan, targetId: vm.id, targetName: vm.name }, work);
  }

  begin(plan: TaskPlan, work: () => Promise<TaskOutcome | void>): Fields {
    return this.tasks.start(plan, async () => {
      await sleep(this.settings.taskDelayMs);
      return await work();
    });
  }
}

/** The one pool of hosts and the one cluster of the lab. */
export const hostPool = { id: 1, name: 'lab-hostpool' } as const;
export const cluster = { id: 2, name: 'lab-cluster' } as const;
