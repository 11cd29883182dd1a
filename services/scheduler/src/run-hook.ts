import {
  Fault,
  idFrom,
  runKindOf,
  type HookAction,
  type HookChanged,
  type HookKind,
  type HookSpec,
  type JobDefinition,
  type JobId,
  type RunChoice,
  type RunId,
  type RunItem,
  type TransferId,
} from '@casvault/contracts';
import { type HookEnd } from './run.machine.js';
import { runLimits, type RunStateName } from './run.js';

/** VMs beyond this are not told to a script: with it all that an environment says stays below what Linux takes of one variable, 128 KiB. */
const vmsBytes = 60_000;

/** What the data-mover knows the hook of a run by: asked for twice it is carried out once. */
export const hookIdOf = (runId: RunId, hook: HookKind): TransferId =>
  idFrom<TransferId>(runId, `hook ${hook}`);

const actionOf = (definition: JobDefinition, hook: HookKind): HookAction | null => {
  if (definition.kind !== 'backup' && definition.kind !== 'restore') return null;
  if (hook === 'precondition') return definition.precondition ?? null;
  const script = definition.scripts?.[hook];
  return script ? { type: 'command', ...script } : null;
};

/** What a job does around its runs, in its order. */
export const hooksOf = (definition: JobDefinition): HookKind[] =>
  (['precondition', 'pre', 'post'] as const).filter((hook) => actionOf(definition, hook) !== null);

/** A run as its hooks are told of it. */
export interface HookedRun {
  readonly id: RunId;
  readonly jobId: JobId;
  readonly jobName: string;
  readonly definition: JobDefinition;
  readonly choice: RunChoice;
  readonly dueAt: Date | null;
  readonly itemCount: number;
  /** In the order of the run; the first ones only of many. */
  readonly items: readonly Pick<RunItem, 'vmId' | 'vmName' | 'state' | 'pointId'>[];
}

/** One line, whatever is in a name. */
const plain = (text: string): string => text.replace(/\p{Cc}+/gu, ' ');

/** As many VMs, from the first, as have room. */
const vmsOf = ({ items, itemCount }: HookedRun): { vms: string; isComplete: boolean } => {
  const told: string[] = [];
  let bytes = 2;
  for (const { vmId, vmName, state, pointId } of items) {
    const vm = JSON.stringify({ id: vmId, name: vmName, state, pointId });
    bytes += Buffer.byteLength(vm) + 1;
    if (bytes > vmsBytes) break;
    told.push(vm);
  }
  return { vms: `[${told.join(',')}]`, isComplete: told.length === itemCount };
};

/** What a script is told of its run, by the names of variables. */
const factsOf = (
  run: HookedRun,
  hook: HookKind,
  action: HookAction,
  verdict: RunStateName | null,
): HookSpec['facts'] => {
  const { definition, choice } = run;
  const { vms, isComplete } = vmsOf(run);
  return {
    CASVAULT_HOOK: hook,
    CASVAULT_JOB_ID: run.jobId,
    CASVAULT_JOB_NAME: plain(run.jobName),
    CASVAULT_RUN_ID: run.id,
    CASVAULT_RUN_KIND: runKindOf(definition),
    CASVAULT_RUN_DUE_AT: run.dueAt?.toISOString() ?? '',
    CASVAULT_RUN_STATE: verdict ?? '',
    CASVAULT_POINT_KIND: definition.kind === 'backup' ? (choice.pointKind ?? definition.pointKind) : '',
    CASVAULT_GROUP: plain(definition.group),
    CASVAULT_TIMEOUT_SECONDS: String(action.timeoutSeconds),
    CASVAULT_VM_COUNT: String(run.itemCount),
    CASVAULT_VMS: vms,
    CASVAULT_VMS_COMPLETE: isComplete ? '1' : '0',
  };
};

/** What a backup host needs to carry out the hook. `verdict`: how the run will have ended, told to its post script. */
export const hookSpecOf = (run: HookedRun, hook: HookKind, verdict: RunStateName | null): HookSpec => {
  const action = actionOf(run.definition, hook);
  if (!action) throw new Fault('BUG', `job ${run.jobId} has no ${hook} to run`);
  const facts = factsOf(run, hook, action, verdict);
  return {
    kind: 'hook',
    hook,
    runId: run.id,
    action,
    facts,
    waitMinutes: runLimits.hookWaitMinutes[hook],
  };
};

/** Null while it goes on. */
export const endOfHook = ({
  state,
  result,
  fault,
}: Pick<HookChanged, 'state' | 'result' | 'fault'>): HookEnd | null => {
  switch (state) {
    case 'queued':
    case 'running':
      return null;
    case 'succeeded':
      return result?.fault ? { type: 'refused', fault: result.fault } : { type: 'passed' };
    case 'failed':
    case 'stopped': {
      const cause = fault ?? new Fault('STOPPED', 'it was stopped').toJSON();
      return { type: 'failed', fault: cause };
    }
  }
};
