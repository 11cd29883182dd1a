import {
  reasons as reasonTexts,
  runLogTexts,
  type Bilingual,
  type FaultJson,
  type ReasonCode,
  type RunItem,
  type RunItemId,
  type RunLogCode,
  type RunLogLevel,
  type RunLogLine,
} from '@casvault/contracts';
import { endOf } from './run-item.js';
import { type ItemEnd, type RunState, type RunStateName } from './run.js';

/** Lines about VMs beyond so many are not kept, only counted; those about the run, a handful, and its scripts, at most 500 each, always are. */
export const maxLogLines = 50_000;

/** A line as it is kept; its number and its time are given when it is written. */
export type NewLine = Pick<RunLogLine, 'level' | 'itemId' | 'vmName' | 'code' | 'reason' | 'params'>;

const runCodes: Partial<Record<RunStateName, RunLogCode>> = {
  stopping: 'RUN_STOPPING',
  succeeded: 'RUN_SUCCEEDED',
  'partly failed': 'RUN_PARTLY_FAILED',
  failed: 'RUN_FAILED',
  stopped: 'RUN_STOPPED',
  skipped: 'RUN_SKIPPED',
  missed: 'RUN_MISSED',
  'given up': 'RUN_GIVEN_UP',
};
const levelOfState = (state: RunStateName): RunLogLevel => {
  if (state === 'failed' || state === 'missed') return 'error';
  return state === 'partly failed' || state === 'skipped' || state === 'given up' ? 'warn' : 'info';
};

const faultParams = ({ code, message }: FaultJson): NewLine['params'] => ({ code, message });

export const runLine = (code: RunLogCode, more: Partial<NewLine> = {}): NewLine => ({
  level: 'info',
  itemId: null,
  vmName: null,
  code,
  reason: null,
  params: {},
  ...more,
});

type Stated = Pick<RunState, 'state' | 'waiting' | 'running' | 'ended' | 'startedAt'>;
const itemsOf = ({ waiting, running, ended }: Stated): number =>
  waiting.length + running.length + Object.values(ended).reduce((sum, count) => sum + count, 0);

/** What is told of a run that has begun, or gone on to another state. */
export const linesOfRun = (before: Stated | null, after: Stated): NewLine[] => {
  const hasBegun = (before?.startedAt ?? null) === null && after.startedAt !== null;
  const began = hasBegun ? [runLine('RUN_BEGAN', { params: { items: itemsOf(after) } })] : [];
  const code = before?.state === after.state ? undefined : runCodes[after.state];
  const reason = after.state === 'given up' ? 'PRECONDITION_NOT_MET' : null;
  return code ? [...began, runLine(code, { level: levelOfState(after.state), reason })] : began;
};

export const admittedLine = ({ id, vmName }: { id: RunItemId; vmName: string }): NewLine =>
  runLine('VM_ADMITTED', { itemId: id, vmName });

/** The attempt before has failed; this one begins at an instant or after. */
export const triedAgainLine = (
  { id, vmName }: { id: RunItemId; vmName: string },
  attempt: number,
  at: string,
): NewLine => runLine('VM_TRIED_AGAIN', { level: 'warn', itemId: id, vmName, params: { attempt, at } });

/** What is told of a run that is over before it began. */
export const linesOfUnbegun = (
  state: 'skipped' | 'missed' | 'failed',
  reasons: readonly ReasonCode[],
  fault: FaultJson | null,
): NewLine[] => {
  const level = levelOfState(state);
  if (fault) return [runLine('RUN_NOT_BEGUN', { level, params: faultParams(fault) })];
  return [runLine(runCodes[state] ?? 'RUN_FAILED', { level, reason: reasons[0] ?? null })];
};

/** What the log knows of an item before and after a change. */
export interface LoggedItem {
  readonly id: RunItemId;
  readonly vmName: string;
  readonly state: RunItem['state'];
  readonly phase: RunItem['phase'];
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
  readonly doneBytes: number;
  readonly storedBytes: number;
}

/** Reasons that something was made worse by: the rest say what is usual. */
const usual: ReadonlySet<ReasonCode> = new Set([
  'FULL_FIRST_POINT',
  'CAPTURE_LIVE',
  'CAPTURE_OFFLINE',
  'CAPTURE_INTERNAL_SNAPSHOT',
  'CAPTURE_EXTERNAL_SNAPSHOT',
  'CAPTURE_POWERED_OFF',
  'DISK_NOT_CHOSEN',
  'WAITING_FOR_WORKER',
]);

/** What is told of an item that was heard of: a new phase, each new reason, its end. */
export const linesOfItem = (
  before: Pick<LoggedItem, 'state' | 'phase' | 'reasons'>,
  after: LoggedItem,
): NewLine[] => {
  const line = (code: RunLogCode, more: Partial<NewLine> = {}): NewLine =>
    runLine(code, { itemId: after.id, vmName: after.vmName, ...more });
  const known = new Set(before.reasons);
  const reasoned = [...new Set(after.reasons)]
    .filter((reason) => !known.has(reason))
    .map((reason) => line('VM_REASON', { level: usual.has(reason) ? 'info' : 'warn', reason }));
  const end = endOf(after.state);
  if (end === null) {
    const isNew = after.phase !== null && after.phase !== before.phase;
    return [...(isNew ? [line('VM_PHASE', { params: { phase: after.phase } })] : []), ...reasoned];
  }
  return endOf(before.state) === null ? [...reasoned, endLine(line, end, after)] : reasoned;
};

const endLine = (
  line: (code: RunLogCode, more?: Partial<NewLine>) => NewLine,
  end: ItemEnd,
  { fault, doneBytes, storedBytes }: LoggedItem,
): NewLine => {
  switch (end) {
    case 'succeeded':
      return line('VM_SUCCEEDED', { params: { doneBytes, storedBytes } });
    case 'skipped':
      return line('VM_SKIPPED', { level: 'warn' });
    case 'failed':
      return line('VM_FAILED', {
        level: 'error',
        params: faultParams(fault ?? { code: 'BUG', message: 'no cause was told', details: {} }),
      });
    case 'stopped':
      return line('VM_STOPPED');
  }
};

/** The words of a line, in both languages; faults have theirs in English alone. */
export const textOfLine = ({
  code,
  reason,
  params,
}: Pick<NewLine, 'code' | 'reason' | 'params'>): Bilingual => {
  const fill = (language: keyof Bilingual): string =>
    runLogTexts[code][language].replace(/\{(\w+)\}/g, (_, name: string) =>
      name === 'reason' && reason !== null ? reasonTexts[reason][language] : String(params[name] ?? ''),
    );
  return { en: fill('en'), 'zh-CN': fill('zh-CN') };
};
