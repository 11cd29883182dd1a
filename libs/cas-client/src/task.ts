import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';
import { z } from 'zod';
import { type CasCaller, type Call } from './caller.js';
import { isBusyText } from './platform-text.js';
import { flag, numberOr, parseAs, text, type Wire } from './wire.js';

/** State of an asynchronous task (`taskMsg`). `result`: 0 succeeded, 1 failed, 2 partly succeeded. */
const taskSchema = z.object({
  msgId: text,
  completed: flag,
  result: numberOr(0),
  progress: numberOr(0),
  failMsg: text,
  detail: text,
  targetId: text,
});
export type CasTask = z.infer<typeof taskSchema>;

export interface TaskTiming {
  /** Longest time between two looks at a task. */
  readonly pollMs: number;
  /** For one task from its start to its end. */
  readonly taskTimeoutMs: number;
  /** How often a call is sent in all while the host is busy. */
  readonly busyTries: number;
  /** Before the second try; doubled for each further one. */
  readonly busyDelayMs: number;
}
const firstPollMs = 30;
export const defaultTaskTiming: TaskTiming = {
  pollMs: 1000,
  taskTimeoutMs: 600_000,
  busyTries: 4,
  busyDelayMs: 2000,
};

const msgIdOf = (reply: Wire): string | null => {
  if (typeof reply === 'number') return String(reply);
  if (typeof reply === 'string') return /^\d+$/.test(reply.trim()) ? reply.trim() : null;
  if (reply === null || Array.isArray(reply) || typeof reply !== 'object') return null;
  const id = reply['msgId'];
  return typeof id === 'string' || typeof id === 'number' ? String(id) : null;
};

const outcome = (task: CasTask, what: string): CasTask => {
  if (task.result === 0) return task;
  const reason = task.failMsg || task.detail || 'no reason given';
  const details = { platformMessage: reason, result: task.result };
  if (isBusyText(reason))
    throw new Fault('PLATFORM_BUSY', `the host is busy and refuses to ${what}: ${reason}`, { details });
  const how = task.result === 2 ? 'finished only in part' : 'failed';
  throw new Fault('PLATFORM_TASK_FAILED', `the CVM's task to ${what} ${how}: ${reason}`, { details });
};

/** Starts tasks and waits for their ends. */
export class TaskRunner {
  constructor(
    private readonly caller: CasCaller,
    private readonly timing: TaskTiming,
  ) {}

  /**
   * Starts a task and waits until it is completed. A busy host is asked again; a task that ends as failed throws
   * PLATFORM_TASK_FAILED with the CVM's reason, one that does not end in time DEADLINE_EXCEEDED. Null when the CVM
   * did the work at once, without a task.
   */
  async run(call: Call): Promise<CasTask | null> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.once(call);
      } catch (error) {
        const isBusy = Fault.is(error) && error.code === 'PLATFORM_BUSY';
        if (!isBusy || attempt >= this.timing.busyTries) throw error;
        await pause(this.timing.busyDelayMs * 2 ** (attempt - 1), call.signal);
      }
    }
  }

  /** The state of a task now. */
  async state(msgId: string, signal?: AbortSignal): Promise<CasTask> {
    const reply = await this.caller.call({
      method: 'GET',
      path: `/message/${encodeURIComponent(msgId)}`,
      what: `tell how task ${msgId} stands`,
      ...(signal === undefined ? {} : { signal }),
    });
    return parseAs(taskSchema, reply, 'task');
  }

  private async once(call: Call): Promise<CasTask | null> {
    const msgId = msgIdOf(await this.caller.call(call));
    if (msgId === null) return null;
    const deadline = AbortSignal.timeout(this.timing.taskTimeoutMs);
    const signal = call.signal === undefined ? deadline : AbortSignal.any([call.signal, deadline]);
    try {
      // Most tasks of a quiet platform end at once: the first looks come sooner.
      for (let waitMs = firstPollMs; ; waitMs *= 2) {
        const task = await this.state(msgId, signal);
        if (task.completed) return outcome(task, call.what);
        await pause(Math.min(waitMs, this.timing.pollMs), signal);
      }
    } catch (error) {
      if (deadline.aborted && call.signal?.aborted !== true) {
        const message = `the CVM's task to ${call.what} (${msgId}) did not end within ${this.timing.taskTimeoutMs} ms`;
        throw new Fault('DEADLINE_EXCEEDED', message, { cause: error });
      }
      throw error;
    }
  }
}

const pause = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    throw signal === undefined ? error : Fault.ofAbort(signal);
  }
};
