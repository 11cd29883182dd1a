import {
  type FaultJson,
  type HookChanged,
  type HookKind,
  type ReasonCode,
  type RunHook,
} from '@casvault/contracts';
import { runLine, type NewLine } from './run-log.rules.js';

/** As the API names them in a job. */
const names: Record<HookKind, string> = {
  precondition: 'precondition',
  pre: 'scripts.pre',
  post: 'scripts.post',
};
/** What the failure of each is: only that of a pre script, which fails the run, is an error. */
const levels = { precondition: 'warn', pre: 'error', post: 'warn' } as const;

type Known = Pick<RunHook, 'state'> & { readonly reasons: readonly ReasonCode[] };

/** How a hook stands after news of it; one that was carried out and did not end well has failed too. */
export const stateOfHook = ({ state, result }: Pick<HookChanged, 'state' | 'result'>): RunHook['state'] =>
  state === 'succeeded' && result?.fault ? 'failed' : state;

export const askedLine = (hook: HookKind): NewLine =>
  runLine('HOOK_ASKED', { params: { hook: names[hook] } });

/** How a hook ended of which no mover said so. */
export const endedLine = (hook: HookKind, { code, message }: FaultJson): NewLine =>
  code === 'STOPPED'
    ? runLine('HOOK_STOPPED', { params: { hook: names[hook] } })
    : runLine('HOOK_FAILED', { level: levels[hook], params: { hook: names[hook], code, message } });

/** What is told of a hook that was heard of: new reasons, that it began, and when it is over its output and its end. */
export const linesOfHook = (before: Known, change: HookChanged): NewLine[] => {
  const { hook, result, reasons } = change;
  const params = { hook: names[hook] };
  const after = stateOfHook(change);
  const known = new Set(before.reasons);
  const lines = reasons
    .filter((reason) => !known.has(reason))
    .map((reason) => runLine('HOOK_REASON', { level: 'warn', reason, params }));
  if (after === before.state) return lines;
  if (
    before.state === 'queued' &&
    after !== 'stopped' &&
    after !== 'queued' &&
    (result || after === 'running')
  )
    lines.push(runLine('HOOK_BEGAN', { params }));
  const fault = result?.fault ?? change.fault;
  const level = after === 'failed' ? levels[hook] : 'info';
  if (result && result.droppedBytes > 0)
    lines.push(runLine('HOOK_OUTPUT_CUT', { level, params: { ...params, bytes: result.droppedBytes } }));
  for (const line of result?.output ?? [])
    lines.push(runLine('HOOK_OUTPUT', { level, params: { ...params, line } }));
  if (after === 'succeeded') lines.push(runLine('HOOK_SUCCEEDED', { params }));
  if (after === 'stopped') lines.push(runLine('HOOK_STOPPED', { params }));
  if (after === 'failed' && fault) lines.push(endedLine(hook, fault));
  return lines;
};
