import {
  Fault,
  type FaultJson,
  type HookAction,
  type HookKind,
  type HookResult,
  type HookSpec,
  type TransferResult,
} from '@casvault/contracts';
import { checkHttp } from './hook-http.js';
import { runCommand, type HookExit } from './hook-process.js';
import { resolveScript } from './hook-script.js';
import { nothingMoved, type Work } from './work.js';

/** What a backup host gives to the hooks that it carries out. */
export interface HookHost {
  /** The only folder that scripts are taken from; null: none is. */
  readonly scripts: string | null;
  readonly name: string;
}

type Command = Extract<HookAction, { type: 'command' }>;

/** The whole environment of a script: what the run tells, and nothing of ours. */
export const environmentOf = (
  { facts }: Pick<HookSpec, 'facts'>,
  host: Pick<HookHost, 'name'>,
  attempt: number,
): Record<string, string> => ({
  ...facts,
  CASVAULT_BACKUP_HOST: host.name,
  CASVAULT_ATTEMPT: String(attempt),
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C.UTF-8',
});

/** What is wrong with how a script has ended; null: nothing. */
export const faultOfExit = (
  { script, timeoutSeconds }: Pick<Command, 'script' | 'timeoutSeconds'>,
  { by, exitCode, signal }: Pick<HookExit, 'by' | 'exitCode' | 'signal'>,
): FaultJson | null => {
  const details = { script, exitCode, signal };
  const failed = (message: string) =>
    new Fault('HOOK_FAILED', `script '${script}' ${message}`, { details }).toJSON();
  if (by === 'time')
    return new Fault(
      'DEADLINE_EXCEEDED',
      `script '${script}' took longer than ${timeoutSeconds} seconds, and was ended`,
      { details },
    ).toJSON();
  if (by === 'abort') return failed('was ended because the mover ends; it is not run again');
  if (exitCode === 0) return null;
  return failed(exitCode === null ? `was ended by ${signal ?? 'a signal'}` : `ended with ${exitCode}`);
};

/** A mover that ends hands back what can be carried out elsewhere; a script that it has begun has failed. */
const mayBeHandedBack = (hook: HookKind): boolean => hook === 'precondition';

/**
 * Carries out one hook. A script is begun only after the controller has confirmed, right before, that it is ours. Throws HOOK_REFUSED for
 * what cannot be run as it is named.
 */
export const carryOutHook = async (work: Work<HookSpec>): Promise<TransferResult> => {
  const { spec, lease, tools, transferId } = work;
  const { action, hook, runId } = spec;
  const file = action.type === 'command' ? await resolveScript(tools.hookHost.scripts, action.script) : '';
  await lease.prove();
  const result =
    action.type === 'http'
      ? await checkHttp(action, lease.signal)
      : await runScript(work, action, file, tools.hookHost);
  const { fault, exitCode, httpStatus } = result;
  tools.logger.info({ transferId, runId, hook, exitCode, httpStatus, fault }, 'hook carried out');
  return { ...nothingMoved, hook: result };
};

const runScript = async (
  { spec, lease, claim, tools }: Work<HookSpec>,
  action: Command,
  file: string,
  host: HookHost,
): Promise<HookResult> => {
  const command = {
    file,
    args: action.arguments,
    env: environmentOf(spec, host, claim.epoch),
    cwd: '/',
    timeoutMs: action.timeoutSeconds * 1_000,
  };
  const exit = await runCommand(command, { clock: tools.clock, signal: lease.signal });
  const isOver = exit.by === 'abort' && (lease.ending !== 'release' || mayBeHandedBack(spec.hook));
  if (isOver) throw Fault.ofAbort(lease.signal);
  const { exitCode, output } = exit;
  return { fault: faultOfExit(action, exit), exitCode, httpStatus: null, ...output.told() };
};
