import {
  type FaultJson,
  type HookChanged,
  type HookKind,
  type ReasonCode,
  type RunHook,
  type RunLogLevel,
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

const outputLines = ({ hook, result }: HookChanged, level: RunLogLevel): NewLine[] => {
  const params = { hook: names[hook] };
  const lines = (result?.output ?? []).map((line) =>
    runLine('HOOK_OUTPUT', { level, params: { ...params, line } }),
  );
  const bytes = result?.droppedBytes ?? 0;
  return bytes > 0 ? [runLine('HOOK_OUTPUT_CUT', { level, params: { ...params, bytes } }), ...lines] : lines;
};

/** It is over: what it wrote, and how it ended. */
const lastLines = (change: HookChanged): NewLine[] => {
  const { hook, result } = change;
  const params = { hook: names[hook] };
  switch (stateOfHook(change)) {
    case 'succeeded':
      return [...outputLines(change, 'info'), runLine('HOOK_SUCCEEDED', { params })];
    case 'stopped':
      return [runLine('HOOK_STOPPED', { params })];
    case 'failed': {
      const fault = result?.fault ?? change.fault;
      return [...outputLines(change, levels[hook]), ...(fault ? [endedLine(hook, fault)] : [])];
    }
    default:
      return [];
  }
};

/** What is told of a hook that was heard of: new reasons, that it began, and when it is over its output and its end. */
export const linesOfHook = (before: Known, change: HookChanged): NewLine[] => {
  const { hook, result, reasons } = change;
  const params = { hook: names[hook] };
  const known = new Set(before.reasons);
  const told = reasons
    .filter((reason) => !known.has(reason))
    .map((reason) => runLine('HOOK_REASON', { level: 'warn', reason, params }));
  const after = stateOfHook(change);
  if (after === before.state) return told;
  const hasBegun = before.state === 'queued' && (result !== null || after === 'running');
  const began = hasBegun ? [runLine('HOOK_BEGAN', { params })] : [];
  return [...told, ...began, ...lastLines(change)];
};
