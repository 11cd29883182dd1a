import { connect } from 'node:net';
import { Fault, type diagnosePlatform, type PlatformId, type PortCheck } from '@casvault/contracts';
import { type z } from 'zod';
import { eachBounded } from './bounded.js';
import { judgeAnswers, type Probe, probesOf } from './diagnosis.rules.js';
import { type HostStore } from './host-store.js';
import { type PlatformStore } from './platform-store.js';

/** A port that has not answered by then is silent. */
const answerMs = 2_000;
/** A platform of 64 hosts behind a firewall takes 25 s. */
const probesAtOnce = 16;
const hostPage = 200;

/** What a port answers to the wish to connect. Throws STOPPED when `signal` aborts. */
const answerOf = ({ address, port }: Probe, signal: AbortSignal): Promise<PortCheck['answer']> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, signal });
    const answer = (told: PortCheck['answer']): void => {
      socket.destroy();
      resolve(told);
    };
    socket.setTimeout(answerMs, () => answer('silent'));
    socket.once('connect', () => answer('open'));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(Fault.ofAbort(signal));
      else answer(error.code === 'ECONNREFUSED' ? 'refused' : 'silent');
    });
  });

/** R17: tries from here the ports that backups of a platform need. */
export class Diagnosis {
  constructor(
    private readonly platforms: PlatformStore,
    private readonly hosts: HostStore,
  ) {}

  /** NOT_FOUND when there is no such platform. Memory: some 300 bytes a port, three ports a host. */
  async run(platformId: PlatformId, signal: AbortSignal): Promise<z.infer<typeof diagnosePlatform.reply>> {
    const platform = await this.platforms.get(platformId);
    const hosts: { name: string; ip: string }[] = [];
    let cursor: string | null = null;
    do {
      const page = await this.hosts.page({ platformId, limit: hostPage, ...(cursor !== null && { cursor }) });
      hosts.push(...page.items);
      cursor = page.nextCursor;
    } while (cursor !== null);
    const probes = probesOf(platform, hosts);
    const answers = new Map<Probe, PortCheck['answer']>();
    await eachBounded(probes, probesAtOnce, async (probe) => {
      answers.set(probe, await answerOf(probe, signal));
    });
    return judgeAnswers(
      platform,
      probes.map((probe) => ({ ...probe, answer: answers.get(probe) ?? 'silent' })),
    );
  }
}
