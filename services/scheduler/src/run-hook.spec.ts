import {
  Fault,
  jobDefinitionSchema,
  newId,
  type HookChanged,
  type JobDefinition,
  type JobId,
  type PointId,
  type PoolId,
  type RunId,
  type TransferId,
  type VmId,
} from '@casvault/contracts';
import { hookIdOf, hooksOf, hookSpecOf, endOfHook, type HookedRun } from './run-hook.js';
import { linesOfHook } from './run-hook.rules.js';
import { textOfLine } from './run-log.rules.js';

const definition = (more: object = {}): JobDefinition =>
  jobDefinitionSchema.parse({ kind: 'backup', vmIds: [newId<VmId>()], poolId: newId<PoolId>(), ...more });
const scripts = { pre: { script: 'freeze', arguments: ['$(id)', "a'b"] }, post: { script: 'thaw.sh' } };

const runOf = (job: JobDefinition, names: readonly string[] = ['db']): HookedRun => ({
  id: newId<RunId>(),
  jobId: newId<JobId>(),
  jobName: 'every\nnight',
  definition: job,
  choice: {},
  dueAt: new Date('2026-01-01T02:00:00Z'),
  itemCount: names.length,
  items: names.map((vmName) => ({
    vmId: newId<VmId>(),
    vmName,
    state: 'queued',
    pointId: newId<PointId>(),
  })),
});

describe('what a job does around its runs', () => {
  it('is what its definition says, in order; nothing else has any', () => {
    expect(hooksOf(definition())).toEqual([]);
    const precondition = { type: 'http', url: 'http://erp/ready' };
    expect(hooksOf(definition({ scripts, precondition }))).toEqual(['precondition', 'pre', 'post']);
    expect(hooksOf(definition({ scripts: { post: scripts.post } }))).toEqual(['post']);
  });

  it('takes the names and arguments as they are, with the time limit of the specification', () => {
    const { action, waitMinutes } = hookSpecOf(runOf(definition({ scripts })), 'pre', null);
    expect(action).toEqual({ type: 'command', ...scripts.pre, timeoutSeconds: 300 });
    expect(waitMinutes).toBe(720);
  });

  it('tells a script of its run, each fact in one line', () => {
    const run = runOf(definition({ scripts }), ['db', 'a "quoted"\nname']);
    const { facts } = hookSpecOf(run, 'post', 'partly failed');
    expect(facts).toEqual({
      CASVAULT_HOOK: 'post',
      CASVAULT_JOB_ID: run.jobId,
      CASVAULT_JOB_NAME: 'every night',
      CASVAULT_RUN_ID: run.id,
      CASVAULT_RUN_KIND: 'backup',
      CASVAULT_RUN_DUE_AT: '2026-01-01T02:00:00.000Z',
      CASVAULT_RUN_STATE: 'partly failed',
      CASVAULT_POINT_KIND: 'incremental',
      CASVAULT_GROUP: 'default',
      CASVAULT_TIMEOUT_SECONDS: '300',
      CASVAULT_VM_COUNT: '2',
      CASVAULT_VMS: expect.any(String) as string,
      CASVAULT_VMS_COMPLETE: '1',
    });
    expect(facts['CASVAULT_VMS']).not.toContain('\n');
    expect(JSON.parse(facts['CASVAULT_VMS'] ?? '')).toEqual(
      run.items.map(({ vmId, vmName, state, pointId }) => ({ id: vmId, name: vmName, state, pointId })),
    );
  });

  it('of many VMs tells as many as Linux takes of one variable, and that it is not all', () => {
    const names = Array.from({ length: 1_000 }, (_, i) => `${'虚'.repeat(100)}${i}`);
    const { facts } = hookSpecOf(runOf(definition({ scripts }), names), 'pre', null);
    const told = facts['CASVAULT_VMS'] ?? '';
    expect(Buffer.byteLength(told)).toBeLessThan(65_536);
    expect((JSON.parse(told) as unknown[]).length).toBeGreaterThan(50);
    expect(facts).toMatchObject({ CASVAULT_VM_COUNT: '1000', CASVAULT_VMS_COMPLETE: '0' });
  });

  it('has one id for each hook of a run', () => {
    const runId = newId<RunId>();
    expect(hookIdOf(runId, 'pre')).toBe(hookIdOf(runId, 'pre'));
    expect(hookIdOf(runId, 'pre')).not.toBe(hookIdOf(runId, 'post'));
  });
});

describe('news of a hook', () => {
  const fault = new Fault('HOOK_FAILED', "script 'freeze' ended with 3").toJSON();
  const result = { fault: null, exitCode: 0, httpStatus: null, output: ['frozen'], droppedBytes: 0 };
  const change = (more: Partial<HookChanged>): HookChanged => ({
    transferId: newId<TransferId>(),
    runId: newId<RunId>(),
    hook: 'pre',
    state: 'succeeded',
    reasons: [],
    result,
    fault: null,
    at: '2026-01-01T00:00:00.000Z',
    ...more,
  });
  const told = (more: Partial<HookChanged>) =>
    linesOfHook({ state: 'running', reasons: [] }, change(more)).map(
      (line) => `${line.level} ${textOfLine(line).en}`,
    );

  it.each([
    [{ state: 'queued', result: null }, null],
    [{ state: 'running', result: null }, null],
    [{}, { type: 'passed' }],
    [{ result: { ...result, fault } }, { type: 'refused', fault }],
    [
      { state: 'failed', result: null, fault },
      { type: 'failed', fault },
    ],
    [
      { state: 'stopped', result: null },
      { type: 'failed', fault: { code: 'STOPPED' } },
    ],
  ] as const)('%j means %j', (more, end) => {
    const ended = endOfHook(change(more));
    if (end === null) expect(ended).toBeNull();
    else expect(ended).toMatchObject(end);
  });

  it('are told in the run’s log with what the script wrote; a failure by how much it matters', () => {
    expect(told({})).toEqual(['info scripts.pre: | frozen', 'info scripts.pre: succeeded']);
    const broken = { ...result, fault, exitCode: 3, droppedBytes: 10 };
    expect(told({ result: broken })).toEqual([
      'error scripts.pre: 10 bytes of output before this are not kept',
      'error scripts.pre: | frozen',
      "error scripts.pre: failed: HOOK_FAILED: script 'freeze' ended with 3",
    ]);
    expect(told({ hook: 'post', state: 'failed', result: null, fault })).toEqual([
      "warn scripts.post: failed: HOOK_FAILED: script 'freeze' ended with 3",
    ]);
    expect(told({ state: 'stopped', result: null })).toEqual(['info scripts.pre: stopped']);
  });

  it('are told once: that it waits, that it began', () => {
    const waiting = change({ state: 'queued', result: null, reasons: ['WAITING_FOR_WORKER'] });
    expect(linesOfHook({ state: 'queued', reasons: [] }, waiting)).toMatchObject([{ code: 'HOOK_REASON' }]);
    expect(linesOfHook({ state: 'queued', reasons: ['WAITING_FOR_WORKER'] }, waiting)).toEqual([]);
    const begun = change({ state: 'running', result: null });
    expect(linesOfHook({ state: 'queued', reasons: [] }, begun)).toMatchObject([{ code: 'HOOK_BEGAN' }]);
    expect(linesOfHook({ state: 'running', reasons: [] }, begun)).toEqual([]);
  });
});
