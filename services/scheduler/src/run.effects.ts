import {
  copyPoint,
  createFromPoint,
  creationTargetSchema,
  protectVm,
  restoreTargetSchema,
  restoreVm,
  rollbackTargetSchema,
  rollbackVm,
  runChanged,
  runHook,
  stopItem,
  verifyPoint,
  type Clock,
  type PointId,
  type RunId,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type Perform } from '@casvault/machine';
import { type Messenger } from '@casvault/messaging';
import { parallelOf } from './parallel.rules.js';
import { hookIdOf, hookSpecOf } from './run-hook.js';
import { type RunHookStore } from './run-hook-store.js';
import { runLimits } from './run.js';
import { type RunEffect, type RunEvent } from './run.machine.js';
import { attemptIdOf, endOf } from './run-item.js';
import { type AskedItem, type RunItemStore } from './run-item-store.js';
import { type RunStore } from './run-store.js';

export interface RunWorld {
  readonly client: Messenger;
  readonly runs: Pick<RunStore, 'news' | 'beginning' | 'notBegun' | 'queue'>;
  readonly items: Pick<RunItemStore, 'asked' | 'record' | 'end'>;
  readonly hooks: Pick<RunHookStore, 'asked' | 'record' | 'end'>;
  readonly clock: Clock;
}

const send = async ({ client }: RunWorld, item: AskedItem, messageId: string): Promise<void> => {
  const { row, runId, jobId, definition, choice } = item;
  const itemId = row.attemptId as RunItemId;
  if (definition.kind === 'verify') {
    const { depth, group } = definition;
    const command = { itemId, runId, pointId: row.pointId as PointId, depth, group };
    return client.send(verifyPoint, command, { messageId });
  }
  const { disksPerVm, streamsPerDisk } = parallelOf(definition);
  const options = { ...definition.options, disksPerVm, streamsPerDisk };
  const { group } = definition;
  if (definition.kind === 'copy') {
    const command = {
      itemId,
      runId,
      pointId: row.pointId as PointId,
      poolId: definition.poolId,
      group,
      options,
    };
    return client.send(copyPoint, command, { messageId });
  }
  const common = { itemId, runId, jobId, group, network: definition.network, options };
  if (definition.kind === 'backup') {
    const { poolId, diskIds, cbt, powerOff, reserve } = definition;
    const { pointKind = definition.pointKind, chainId } = choice;
    const vmId = row.vmId as VmId;
    const command = { ...common, vmId, poolId, pointKind, chainId, diskIds, cbt, powerOff, reserve };
    return client.send(protectVm, command, { messageId });
  }
  const restoring = { ...common, pointId: row.pointId as PointId };
  if (definition.kind === 'rollback') {
    const command = { ...restoring, target: rollbackTargetSchema.parse(row.target) };
    return client.send(rollbackVm, command, { messageId });
  }
  if (definition.kind === 'creation') {
    const command = { ...restoring, target: creationTargetSchema.parse(row.target) };
    return client.send(createFromPoint, command, { messageId });
  }
  const command = { ...restoring, target: restoreTargetSchema.parse(row.target) };
  return client.send(restoreVm, command, { messageId });
};

/** Asks, unless it has ended, was left by a stop, or was heard of lately; says then what the row knows. */
const ask = async (
  world: RunWorld,
  { itemId, attempt, isFirst }: Extract<RunEffect, { type: 'ask' }>,
  messageId: string,
): Promise<RunEvent | null> => {
  const item = await world.items.asked(itemId);
  const { heardAt, state, phase, fault } = item.row;
  if (item.row.attempt !== attempt) return null;
  const at = (heardAt ?? new Date(0)).toISOString();
  const end = endOf(phase);
  if (end) return { type: 'heard', itemId, attempt, at, end, fault };
  if (endOf(state)) return null;
  const isSilent = !heardAt || world.clock.now().getTime() - heardAt.getTime() >= runLimits.askAgainMs;
  if (isFirst || isSilent) await send(world, item, messageId);
  return isSilent ? null : { type: 'heard', itemId, attempt, at, end: null, fault: null };
};

const askHook = async (
  { client, hooks }: RunWorld,
  runId: RunId,
  { hook, isStopped: stopAsked, verdict }: Extract<RunEffect, { type: 'askHook' }>,
  messageId: string,
): Promise<void> => {
  const run = await hooks.asked(runId);
  const spec = hookSpecOf(run, hook, verdict);
  const { group } = run.definition;
  await client.send(runHook, { transferId: hookIdOf(runId, hook), group, spec, stopAsked }, { messageId });
};

export const performRun =
  (world: RunWorld): Perform<RunEvent, RunEffect> =>
  async (effect, { instanceId, effectId: messageId }) => {
    switch (effect.type) {
      case 'ask':
        return ask(world, effect, messageId);
      case 'stopItem': {
        const itemId = attemptIdOf(effect.itemId, effect.attempt);
        await world.client.send(stopItem, { itemId }, { messageId });
        return null;
      }
      case 'endItems':
        await world.items.end(effect, world.clock.now());
        return null;
      case 'askHook':
        await askHook(world, instanceId as RunId, effect, messageId);
        return null;
      case 'endHook':
        await world.hooks.end(instanceId as RunId, effect.hook, effect.fault, world.clock.now());
        return null;
      case 'publish':
        await world.client.publish(runChanged, await world.runs.news(instanceId as RunId), { messageId });
        return null;
    }
  };

/** What was written comes before what is told of it; asking and stopping an item keep their order too. */
export const runLane = ({ type }: RunEffect): string =>
  type === 'ask' || type === 'stopItem' ? 'engine' : 'news';
