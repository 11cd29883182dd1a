import {
  Fault,
  getPool,
  type CheckedStage,
  type Clock,
  type ContentPreview,
  type JobStage,
  type PlanPreview,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { BackupContent } from './backup-content.js';
import { type BackupZones } from './backup-zones.js';
import { copyItems } from './copy-content.js';
import { requireLicence } from './licence-check.js';
import { judgedPlans } from './plan-check.js';
import { shownDues } from './plan.rules.js';
import { inField } from './references.js';
import { type NewItem } from './run-item.js';
import { verifyItems } from './verify-content.js';

type Stage<T extends JobStage['stage']> = Extract<JobStage, { stage: T }>;

/** As many items as a run shows. */
const mostShown = 1_000;
/** Times shown of each plan. */
const timesShown = 3;
const nothing: CheckedStage = { refusals: [], content: null, hostsOnline: null, plans: null, options: null };

/** D9: judges a backup, verify or copy job page by page while it is put together, by what judges the whole when it is created. */
export class StageCheck {
  readonly #content: BackupContent;

  constructor(
    private readonly client: MessagingClient,
    private readonly zones: Pick<BackupZones, 'hosts' | 'of'>,
    private readonly clock: Clock,
  ) {
    this.#content = new BackupContent(client);
  }

  /** Throws only what keeps it from judging: somebody who can't be asked. */
  async check(job: JobStage, signal: AbortSignal): Promise<CheckedStage> {
    switch (job.stage) {
      case 'content':
        return this.#contentOf(job, signal);
      case 'target':
        return this.#target(job, signal);
      case 'plans':
        return this.#plans(job, signal);
      case 'options':
        return this.#options(job, signal);
    }
  }

  async #options({ kind, definition }: Stage<'options'>, signal: AbortSignal): Promise<CheckedStage> {
    const refusals =
      kind === 'verify' ? [] : await refusalsOf(() => requireLicence(this.client, definition, signal));
    return { ...nothing, refusals, options: definition };
  }

  async #contentOf(job: Stage<'content'>, signal: AbortSignal): Promise<CheckedStage> {
    let content: ContentPreview | null = null;
    const refusals = await refusalsOf(async () => {
      const judged = await this.#judged(job, signal);
      content = judged.content;
      if (judged.refusal) throw Fault.fromJSON(judged.refusal);
    });
    return { ...nothing, refusals, content };
  }

  async #judged(job: Stage<'content'>, signal: AbortSignal): ReturnType<BackupContent['judge']> {
    switch (job.kind) {
      case 'verify':
        return pointsOf(await verifyItems(this.client, job.definition, signal));
      case 'copy':
        return pointsOf(await copyItems(this.client, job.definition, signal));
      default:
        return this.#content.judge(job.definition, signal);
    }
  }

  async #target(
    { definition: { poolId, group } }: Stage<'target'>,
    signal: AbortSignal,
  ): Promise<CheckedStage> {
    const refusals = await refusalsOf(() =>
      inField('definition.poolId', this.client.request(getPool, { poolId }, { signal })),
    );
    const hosts = await this.zones.hosts(signal);
    const hostsOnline = hosts.filter((host) => host.group === group && host.state === 'online').length;
    return { ...nothing, refusals, hostsOnline };
  }

  async #plans(
    { kind = 'backup', plans: asked, definition }: Stage<'plans'>,
    signal: AbortSignal,
  ): Promise<CheckedStage> {
    const { zones, clock } = this;
    let plans: PlanPreview[] | null = null;
    const refusals = await refusalsOf(async () => {
      const job = { definition: { ...definition, kind }, plans: asked };
      const { timeZone, plans: judged } = await judgedPlans({ zones, clock }, job, signal);
      const now = clock.now();
      plans = judged.map((plan) => ({ timeZone, dues: shownDues(plan, timeZone, now, timesShown) }));
    });
    return { ...nothing, refusals, plans };
  }
}

/** Points are asked for as they are: there is none that is gone. */
const pointsOf = (items: readonly NewItem[]): Awaited<ReturnType<BackupContent['judge']>> => ({
  refusal: null,
  content: {
    itemCount: items.length,
    items: items.slice(0, mostShown).map(({ vmId, vmName, pointId }) => ({
      vmId,
      vmName,
      hostName: null,
      fault: null,
      ...(pointId !== null && { pointId }),
    })),
  },
});

/** What `create-job` would refuse. */
const refusalsOf = async (judge: () => unknown): Promise<CheckedStage['refusals']> => {
  try {
    await judge();
    return [];
  } catch (error) {
    const fault = Fault.from(error);
    if (fault.kind !== 'user' && fault.kind !== 'conflict') throw fault;
    return [fault.toJSON()];
  }
};
