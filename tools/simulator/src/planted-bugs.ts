import { Fault } from '@casvault/contracts';
import { transferMachine, type TransferState } from '@casvault/data-mover/machine';
import { runMachine, type RunState } from '@casvault/scheduler/machine';
import {
  deletionMachine,
  protectionMachine,
  restoreMachine,
  rollbackMachine,
  type DeletionState,
  type RestoreState,
  type RollbackState,
} from '@casvault/snapshot-engine/machine';

import { CatalogueRows } from './catalogue.js';

interface Stepped {
  readonly state: unknown;
  readonly effects: readonly { readonly type: string }[];
}
type Step = (state: never, event: never, now: Date) => Stepped;
interface Target {
  step: Step;
}
type Mutation = (step: Step) => (state: unknown, event: { type: string }, now: Date) => Stepped;

/** A bug that somebody might make; the simulator must find each. */
export interface PlantedBug {
  readonly name: string;
  /** Puts it in; what is returned takes it out again. */
  readonly plant: () => () => void;
}

const planted = (name: string, machine: unknown, mutate: Mutation): PlantedBug => ({
  name,
  plant: () => {
    const target = machine as Target;
    const whole = target.step;
    target.step = mutate(whole.bind(machine));
    return () => {
      target.step = whole;
    };
  },
});

/** In what the catalogue's store does with a step. */
const plantedInCatalogue = <K extends 'use' | 'standAnew' | 'rollbackStepped'>(
  name: string,
  method: K,
  instead: CatalogueRows[K],
): PlantedBug => ({
  name,
  plant: () => {
    const whole = CatalogueRows.prototype[method];
    CatalogueRows.prototype[method] = instead;
    return () => {
      CatalogueRows.prototype[method] = whole;
    };
  },
});

const run = (step: Step, state: unknown, event: unknown, now: Date): Stepped =>
  step(state as never, event as never, now);

/** One in each machine at least, of the kinds that cost data, leave things behind, or never end. */
export const plantedBugs: readonly PlantedBug[] = [
  planted('run: admits one too many', runMachine, (step) => (state, event, now) => {
    if (event.type !== 'begin') return run(step, state, event, now);
    const { parallel } = event as unknown as { parallel: RunState['parallel'] };
    const more = { vms: parallel.vms + 1, vmsPerHost: parallel.vmsPerHost + 1 };
    const { state: begun, ...rest } = run(step, state, { ...event, parallel: more }, now);
    return { ...rest, state: { ...(begun as RunState), parallel } };
  }),
  planted('run: asks for an item once only', runMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    return {
      ...stepped,
      effects: stepped.effects.filter(({ type }) => event.type !== 'woken' || type !== 'ask'),
    };
  }),
  planted('run: tries again what goes on', runMachine, (step) => (state, event, now) => {
    const { end } = event as unknown as { end?: string | null };
    const isGoing = event.type === 'heard' && end === null;
    const failed = { end: 'failed', fault: new Fault('NBD_IO', 'cut').toJSON() };
    return run(step, state, isGoing ? { ...event, ...failed } : event, now);
  }),
  planted(
    'protection: available before the transfer has succeeded',
    protectionMachine,
    (step) => (state, event, now) => {
      const { change } = event as unknown as {
        change?: { kind: string; state: string; capturedAt: string | null };
      };
      const isEarly = change?.kind === 'backup' && change.state === 'running' && change.capturedAt !== null;
      return run(step, state, isEarly ? { ...event, change: { ...change, state: 'succeeded' } } : event, now);
    },
  ),
  planted('protection: asks for its transfer once only', protectionMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    const isAgain = (type: string) => event.type === 'woken' && type === 'startTransfer';
    return { ...stepped, effects: stepped.effects.filter(({ type }) => !isAgain(type)) };
  }),
  planted('protection: leaves the VM as it captured it', protectionMachine, (step) => (state, event, now) => {
    const { effects, ...stepped } = run(step, state, event, now);
    const isUndo = (effect: object) => 'action' in effect && effect.action === 'undo';
    if (!effects.some(isUndo)) return { ...stepped, effects };
    const over = run(step, stepped.state, { type: 'undone' }, now);
    return { ...over, effects: [...effects.filter((one) => !isUndo(one)), ...over.effects] };
  }),
  planted('restore: forgets to remove the half-made VM', restoreMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    const { vm, ending, ...rest } = stepped.state as RestoreState;
    if (vm !== 'removing' || !ending) return stepped;
    const over = { ...rest, ending, vm: 'gone', phase: ending.phase };
    return { ...stepped, state: over, effects: stepped.effects.filter(({ type }) => type !== 'removeVm') };
  }),
  planted(
    'restore: hands the VM over before its disks are written',
    restoreMachine,
    (step) => (state, event, now) => {
      const { change } = event as unknown as { change?: { kind: string; state: string } };
      const isEarly = change?.kind === 'restore' && change.state === 'running';
      return run(step, state, isEarly ? { ...event, change: { ...change, state: 'succeeded' } } : event, now);
    },
  ),
  planted('deletion: removes the successors too', deletionMachine, (step) => (state, event, now) => {
    const { effects, ...stepped } = run(step, state, event, now);
    const { successorIds } = (stepped.state as DeletionState).request.list;
    const more = effects.map((effect) => {
      const { command } = effect as { command?: { pointIds: string[] } };
      return command
        ? { ...effect, command: { ...command, pointIds: [...command.pointIds, ...successorIds] } }
        : effect;
    });
    return { ...stepped, effects: more };
  }),
  planted('deletion: ends before all is removed', deletionMachine, (step) => (state, event, now) => {
    const { change } = event as unknown as { change?: { state: string } };
    const isEarly = change?.state === 'running' && (state as DeletionState | null)?.phase === 'deleting';
    return run(step, state, isEarly ? { ...event, change: { ...change, state: 'succeeded' } } : event, now);
  }),
  planted('deletion: asks for the removal once only', deletionMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    const isAgain = (type: string) => event.type === 'woken' && type === 'removePoints';
    return { ...stepped, effects: stepped.effects.filter(({ type }) => !isAgain(type)) };
  }),
  planted(
    'roll-back: goes on before all disks are written',
    rollbackMachine,
    (step) => (state, event, now) => {
      const { change } = event as unknown as { change?: { kind: string; state: string } };
      const isEarly = change?.kind === 'rollback' && change.state === 'running';
      return run(step, state, isEarly ? { ...event, change: { ...change, state: 'succeeded' } } : event, now);
    },
  ),
  planted('roll-back: writes while the VM may run', rollbackMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    const { spec, transferId, request, power } = stepped.state as RollbackState;
    if (event.type !== 'factsLoaded' || power !== 'stopping' || !spec) return stepped;
    const command = { transferId, ownerId: request.itemId, group: request.group, spec };
    return { ...stepped, effects: [...stepped.effects, { type: 'startTransfer', command }] };
  }),
  planted('roll-back: forgets to start the VM again', rollbackMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    const next = stepped.state as RollbackState;
    if (event.type !== 'checkpointsRemoved' || next.power !== 'starting') return stepped;
    const over = { ...next, phase: 'succeeded', power: 'off' };
    return { state: over, effects: [], wakeAt: null, done: true };
  }),
  plantedInCatalogue(
    'catalogue: forgets that a VM was rolled back (R14)',
    'rollbackStepped',
    () => undefined,
  ),
  plantedInCatalogue('catalogue: leaves successors on a deleted point', 'standAnew', () => undefined),
  plantedInCatalogue('catalogue: notes no use of a point (G2)', 'use', () => true),
  planted('transfer: accepts an outdated epoch', transferMachine, (step) => (state, event, now) => {
    const present = (state as TransferState | null)?.epoch;
    const isReport = 'epoch' in event && event.type !== 'start';
    return run(step, state, isReport ? { ...event, epoch: present } : event, now);
  }),
  planted('transfer: forgets to watch the lease', transferMachine, (step) => (state, event, now) => {
    const stepped = run(step, state, event, now);
    const { state: name } = stepped.state as TransferState;
    return name === 'running' ? { ...stepped, wakeAt: null } : stepped;
  }),
];
