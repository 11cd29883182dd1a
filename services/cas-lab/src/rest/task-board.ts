import { busyText, CasError, casErrorOf } from './cas-error.js';
import { type Fields } from './shape.js';

/** What kinds of work are called in `eventType`. */
export const eventTypes = {
  add: 20,
  delete: 21,
  modify: 22,
  start: 30,
  powerOff: 31,
  stop: 32,
  restart: 33,
  pause: 34,
  restore: 35,
  migrate: 36,
  snapshot: 40,
  template: 50,
} as const;

export interface TaskPlan {
  /** For people. */
  readonly name: string;
  readonly eventType: number;
  readonly targetId?: number;
  readonly targetName: string;
}

export interface TaskOutcome {
  readonly targetId?: number;
}

interface Task extends TaskPlan {
  readonly msgId: number;
  readonly start: Date;
  complete?: Date;
  outcome?: TaskOutcome;
  failMsg?: string;
}

/** Tasks that are kept for questions: a CVM forgets old ones too. */
const maxKept = 1000;

/** `2026-05-04T12:00:00.123+08:00`: the CVM's clock is China's. */
export function casTime(date: Date): string {
  const china = new Date(date.getTime() + 8 * 3_600_000);
  return china.toISOString().replace('Z', '+08:00');
}

/** Asynchronous work of the CVM: begun at once, asked about by its message id. One task a machine at a time. */
export class TaskBoard {
  readonly #tasks = new Map<number, Task>();
  readonly #busyTargets = new Set<string>();
  readonly #clock: () => Date;
  #lastId = 0;
  /** The next so many tasks fail as on a busy host. */
  busyFaults = 0;

  constructor(clock: () => Date) {
    this.#clock = clock;
  }

  /** Begins `work`; the reply that a call which starts a task gives. */
  start(plan: TaskPlan, work: () => Promise<TaskOutcome | void>): Fields {
    const start = this.#clock();
    this.#lastId = Math.max(start.getTime(), this.#lastId + 1);
    const task: Task = { ...plan, msgId: this.#lastId, start };
    this.#tasks.set(task.msgId, task);
    this.#forgetOld();
    void this.#run(task, work);
    return {
      msgId: String(task.msgId),
      completed: 'false',
      progress: '0',
      eventType: '0',
      targetId: plan.targetId === undefined ? undefined : String(plan.targetId),
      targetName: plan.targetName,
    };
  }

  /** `taskMsg` of a task; undefined for one that is not known. */
  find(msgId: number): Fields | undefined {
    const task = this.#tasks.get(msgId);
    return task && taskFields(task);
  }

  /** What tasks are at work on, by name. */
  get busyWith(): string[] {
    return [...this.#busyTargets];
  }

  async #run(task: Task, work: () => Promise<TaskOutcome | void>): Promise<void> {
    try {
      task.outcome = (await this.#alone(task.targetName, work)) ?? {};
    } catch (error) {
      task.failMsg = casErrorOf(error).message;
    }
    task.complete = this.#clock();
  }

  async #alone<T>(target: string, work: () => Promise<T>): Promise<T> {
    if (this.busyFaults > 0) {
      this.busyFaults--;
      throw new CasError(11, busyText);
    }
    if (this.#busyTargets.has(target)) throw new CasError(11, busyText);
    this.#busyTargets.add(target);
    try {
      return await work();
    } finally {
      this.#busyTargets.delete(target);
    }
  }

  #forgetOld(): void {
    for (const [msgId, task] of this.#tasks) {
      if (this.#tasks.size <= maxKept) return;
      if (task.complete) this.#tasks.delete(msgId);
    }
  }
}

function taskFields(task: Task): Fields {
  const done = task.complete !== undefined;
  const targetId = task.outcome?.targetId ?? task.targetId;
  return {
    msgId: String(task.msgId),
    name: task.name,
    targetId: targetId === undefined ? undefined : String(targetId),
    targetName: task.targetName,
    detail: `${task.name}：${task.targetName}`,
    completed: String(done),
    result: String(task.failMsg === undefined ? 0 : 1),
    progress: done ? '100' : '50',
    failMsg: task.failMsg,
    eventType: String(task.eventType),
    start: casTime(task.start),
    complete: task.complete && casTime(task.complete),
  };
}
