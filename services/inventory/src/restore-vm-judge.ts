import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { Fault, type HostId, type judgeRestoreVms, type PlatformId } from '@casvault/contracts';
import { type z } from 'zod';
import { eachBounded } from './bounded.js';
import { type CasAccess } from './cas-access.js';
import { type HostStore } from './host-store.js';
import { macRefusals, originalRefusal, placedAs, readOriginal, type Original } from './original-path.js';
import { originalNotices } from './original-path.rules.js';
import { overwritingRefusal, type Protection } from './overwriting.js';
import { type PlatformStore } from './platform-store.js';
import { readSite, stillExists, withVolumes } from './restore-site.js';
import {
  firmwareNotices,
  nameTaken,
  noticesOf,
  refusalsOf,
  type RestoreSite,
  type RestoreVmPlanRequest,
} from './restore-vm.rules.js';
import { type VmStore } from './vm-store.js';

type Verdict = z.infer<typeof judgeRestoreVms.reply>['verdicts'][number];

/** Questions at the same time to one CVM. */
const atOnce = 4;

export interface RestoreVmJudgeOptions {
  readonly platforms: PlatformStore;
  readonly hosts: HostStore;
  readonly vms: VmStore;
  readonly access: CasAccess;
  readonly owners: Protection['owners'];
}

/** One platform as it is now: read once for all requests of a question. */
interface Known {
  readonly client: CasClient;
  /** Or why the host can't be used. */
  readonly sites: ReadonlyMap<HostId, RestoreSite | Fault>;
  readonly templates: ReadonlySet<string>;
}

const refusalOf = (error: unknown, field: string): Fault => {
  const fault = Fault.from(error);
  if (fault.kind !== 'user' && fault.kind !== 'conflict') throw fault;
  return new Fault(fault.code, `${field}: ${fault.message}`, { details: { ...fault.details, field } });
};

const orRefused = async <T>(work: Promise<T>, field: string): Promise<T | Fault> => {
  try {
    return await work;
  } catch (error) {
    return refusalOf(error, field);
  }
};

const refusedAs = (fault: Fault): Verdict => ({ refusals: [fault.toJSON()], notices: [] });

/** F4: judges VMs of restores by the rules by which they are made, and makes none. */
export class RestoreVmJudge {
  constructor(private readonly options: RestoreVmJudgeOptions) {}

  /** In the order of the requests. What hinders the judging itself, as a CVM that does not answer, is thrown. */
  async judge(requests: readonly RestoreVmPlanRequest[], signal: AbortSignal): Promise<Verdict[]> {
    const verdicts: Verdict[] = [];
    for (const platformId of new Set(requests.map((request) => request.platformId))) {
      const own = [...requests.entries()].filter(([, request]) => request.platformId === platformId);
      const told = await this.onPlatform(
        platformId,
        own.map(([, request]) => request),
        signal,
      );
      for (const [place, [index]] of own.entries())
        verdicts[index] = told[place] ?? { refusals: [], notices: [] };
    }
    return verdicts;
  }

  private async onPlatform(
    platformId: PlatformId,
    requests: readonly RestoreVmPlanRequest[],
    signal: AbortSignal,
  ): Promise<Verdict[]> {
    const platform = await this.options.platforms
      .get(platformId)
      .catch((error: unknown) => refusalOf(error, 'platformId'));
    if (Fault.is(platform)) return requests.map(() => refusedAs(platform));
    const verdicts: Verdict[] = [];
    await this.options.access.with(platform, async (client) => {
      const sites = await this.sites(client, platformId, requests, signal);
      const templates = new Set((await client.templates(signal)).map(({ name }) => name));
      const known = { client, sites, templates };
      await eachBounded([...requests.entries()], atOnce, async ([index, request]) => {
        verdicts[index] = await this.verdict(known, request, signal);
      });
    });
    return verdicts;
  }

  private async sites(
    client: CasClient,
    platformId: PlatformId,
    requests: readonly RestoreVmPlanRequest[],
    signal: AbortSignal,
  ): Promise<Known['sites']> {
    const sites = new Map<HostId, RestoreSite | Fault>();
    for (const hostId of new Set(requests.map((request) => request.hostId))) {
      const host = await this.options.hosts
        .get(platformId, hostId)
        .catch((error: unknown) => refusalOf(error, 'hostId'));
      sites.set(hostId, Fault.is(host) ? host : await readSite(client, host, signal));
    }
    return sites;
  }

  private async verdict(known: Known, request: RestoreVmPlanRequest, signal: AbortSignal): Promise<Verdict> {
    const { client, sites, templates } = known;
    const site = sites.get(request.hostId);
    if (site === undefined || Fault.is(site))
      return refusedAs(site ?? new Fault('BUG', 'a host was not looked at'));
    const whole = await orRefused(withVolumes(client, site, request, signal), 'volumes');
    if (Fault.is(whole)) return refusedAs(whole);
    const original = await orRefused(readOriginal(this.options.vms, client, request, signal), 'path');
    if (Fault.is(original)) return refusedAs(original);
    if (original?.row) return this.overOriginal(client, request, { original, site: whole }, signal);
    const row = await client.vmByName(request.vmName, signal);
    const isTemplate = templates.has(request.vmName) || row?.powerState === 'template';
    const taken = isTemplate ? nameTaken(request) : await this.taken(client, row, request, whole, signal);
    const sourceExists = await stillExists(this.options.vms, request.sourceVmId);
    const notices = original
      ? [...originalNotices(request, false), ...firmwareNotices(request.configuration)]
      : noticesOf(request, sourceExists, row !== null && taken === null);
    return this.told(taken, placedAs(request, original), whole, notices);
  }

  /** F3: the VM of the point is still there. */
  private async overOriginal(
    client: CasClient,
    request: RestoreVmPlanRequest,
    { original, site }: { original: Original; site: RestoreSite },
    signal: AbortSignal,
  ): Promise<Verdict> {
    const { externalId: hostExternalId } = site.host;
    const place = { hostExternalId, leftOut: request.original?.leftOut ?? [] };
    const refusal = original.row && (await originalRefusal(client, original.row, place, signal));
    const notices = [...originalNotices(request, true), ...firmwareNotices(request.configuration)];
    return this.told(refusal, placedAs(request, original), site, notices);
  }

  private async told(
    first: Fault | null,
    request: RestoreVmPlanRequest,
    site: RestoreSite,
    notices: Verdict['notices'],
  ): Promise<Verdict> {
    const macs = await macRefusals(this.options.vms, request);
    const refusals = [...(first ? [first] : []), ...macs, ...refusalsOf(request, site)];
    return { refusals: refusals.map((fault) => fault.toJSON()), notices };
  }

  /** S8: why the VM that bears the name hinders it; null: there is none, or it is overwritten. */
  private async taken(
    client: CasClient,
    row: CasVmRow | null,
    request: RestoreVmPlanRequest,
    { host: { externalId: hostExternalId } }: RestoreSite,
    signal: AbortSignal,
  ): Promise<Fault | null> {
    if (row === null) return null;
    if (!request.overwrite) return nameTaken(request);
    const place = { platformId: request.platformId, hostExternalId };
    return overwritingRefusal(this.options, client, row, place, signal);
  }
}
