import { Fault } from '@casvault/contracts';
import { parseBackup, parseCheckpoint, type BackupPlan, type ParsedCheckpoint } from './backup-xml.js';
import { parseBlockNodes, type BlockNode } from './block-nodes.js';
import {
  parseDomain,
  parseDomainNames,
  parseDomainStates,
  type Domain,
  type DomainState,
  type DomainSummary,
} from './domain.js';
import { VirshShell } from './virsh-shell.js';
import { runVirsh, withXmlFiles, type CallOptions, type VirshOptions } from './virsh.js';

export type Checkpoint = ParsedCheckpoint;
export type BackupDescription = BackupPlan;

const words = (output: string): string[] =>
  output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** The question for the state of a domain, or of all. */
const stateOf = (...domain: readonly string[]): string[] => [
  'domstats',
  '--raw',
  '--nowait',
  '--state',
  ...domain,
];

const onlyState = (domain: string, output: string): DomainState => {
  const [state] = parseDomainStates(output).values();
  if (state === undefined) throw new Fault('VM_NOT_FOUND', `libvirt tells no state of domain ${domain}`);
  return state;
};

/** What QEMU returned. Throws LIBVIRT_FAILED with its words. */
function returned(command: string, output: string): unknown {
  const reply = JSON.parse(output) as { return?: unknown; error?: { desc?: string } };
  if (reply.error) throw new Fault('LIBVIRT_FAILED', `QEMU ${command}: ${reply.error.desc ?? 'refused'}`);
  return reply.return;
}

/** `Froze 2 filesystem(s)` */
const countOf = (said: string): number => Number(/\d+/.exec(said)?.[0] ?? 0);

/**
 * One libvirt daemon. `domain` is a UUID wherever it can be: virsh takes a name of digits for a domain's number.
 * Throws VM_NOT_FOUND (no such domain), NOT_FOUND (no such checkpoint, snapshot or job), DEPENDENCY_UNAVAILABLE (no daemon
 * or no virsh), DEADLINE_EXCEEDED, STOPPED (aborted) and LIBVIRT_FAILED with virsh's words for all else.
 */
export class Libvirt {
  readonly #options: VirshOptions;
  readonly #shell: VirshShell;

  constructor(options: VirshOptions) {
    this.#options = options;
    this.#shell = new VirshShell(options);
  }

  /** Any virsh command; the output without its last line end. */
  async run(args: readonly string[], call: CallOptions = {}): Promise<string> {
    return await runVirsh(this.#options, args, call);
  }

  /** A command that changes nothing. */
  async #ask(args: readonly string[], call: CallOptions): Promise<string> {
    return await this.#shell.ask([args], call);
  }

  /** A virsh command some of whose arguments are XML documents: `args` gets their file paths. */
  async #runWithXml(
    documents: readonly string[],
    args: (paths: string[]) => string[],
    call: CallOptions = {},
  ): Promise<string> {
    return await withXmlFiles(this.#options, documents, (paths) => this.run(args(paths), call));
  }

  /** Versions of the daemon's library and of the hypervisor: `{ libvirt: '9.0.0', hypervisor: 'QEMU 7.2.22' }`. */
  async version(call: CallOptions = {}): Promise<{ libvirt: string; hypervisor: string }> {
    const output = await this.#ask(['version', '--daemon'], call);
    const found = (label: RegExp): string => label.exec(output)?.[1]?.trim() ?? 'unknown';
    return {
      libvirt: found(/Running against daemon:\s*(.+)/),
      hypervisor: found(/Running hypervisor:\s*(.+)/),
    };
  }

  /** All domains, running or not. A domain that vanishes while they are listed is left out. */
  async domains(call: CallOptions = {}): Promise<DomainSummary[]> {
    const names = ['list', '--all', '--uuid', '--name'];
    // Each parser knows its own lines.
    const output = await this.#shell.ask([names, stateOf()], call);
    const states = parseDomainStates(output);
    const found: DomainSummary[] = [];
    for (const [uuid, name] of parseDomainNames(output)) {
      const state = states.get(name);
      if (state !== undefined) found.push({ uuid, name, state });
    }
    return found;
  }

  async state(domain: string, call: CallOptions = {}): Promise<DomainState> {
    return onlyState(domain, await this.#ask(stateOf(domain), call));
  }

  /** The live description of a running domain, the stored one of a stopped domain. */
  async domain(domain: string, call: CallOptions = {}): Promise<Domain> {
    const { xml, state } = await this.description(domain, call);
    return parseDomain(xml, state);
  }

  /** All that libvirt tells of a domain: what it is now, what it will be at its next start (`storedXml`), and its state. */
  async description(
    domain: string,
    call: CallOptions = {},
  ): Promise<{ xml: string; storedXml: string; state: DomainState }> {
    const questions = [['dumpxml', domain], ['dumpxml', domain, '--inactive'], stateOf(domain)];
    const output = await this.#shell.ask(questions, call);
    const [xml, storedXml, states] = output.split(/(?<=^<\/domain>$)/m);
    if (xml === undefined || storedXml === undefined || states === undefined)
      throw new Fault('LIBVIRT_FAILED', `libvirt does not describe domain ${domain}`);
    return { xml, storedXml, state: onlyState(domain, states) };
  }

  async domainXml(
    domain: string,
    options: { inactive?: boolean } = {},
    call: CallOptions = {},
  ): Promise<string> {
    return await this.#ask(['dumpxml', domain, ...(options.inactive === true ? ['--inactive'] : [])], call);
  }

  async define(xml: string, call: CallOptions = {}): Promise<void> {
    await this.#runWithXml([xml], ([path = '']) => ['define', path], call);
  }

  async start(domain: string, options: { paused?: boolean } = {}, call: CallOptions = {}): Promise<void> {
    await this.run(['start', domain, ...(options.paused === true ? ['--paused'] : [])], call);
  }

  /** Asks the guest to shut down (ACPI); returns at once. */
  async shutdown(domain: string, call: CallOptions = {}): Promise<void> {
    await this.run(['shutdown', domain], call);
  }

  /** Power off. */
  async destroy(domain: string, call: CallOptions = {}): Promise<void> {
    await this.run(['destroy', domain], call);
  }

  async suspend(domain: string, call: CallOptions = {}): Promise<void> {
    await this.run(['suspend', domain], call);
  }

  async resume(domain: string, call: CallOptions = {}): Promise<void> {
    await this.run(['resume', domain], call);
  }

  /** Forgets the definition with its checkpoint and snapshot records; the disks stay. */
  async undefine(domain: string, call: CallOptions = {}): Promise<void> {
    await this.run(['undefine', domain, '--checkpoints-metadata', '--snapshots-metadata'], call);
  }

  async attachDevice(
    domain: string,
    xml: string,
    where: 'live' | 'config' | 'both',
    call: CallOptions = {},
  ): Promise<void> {
    const flags = where === 'both' ? ['--live', '--config'] : [`--${where}`];
    await this.#runWithXml([xml], ([path = '']) => ['attach-device', domain, path, ...flags], call);
  }

  async detachDisk(
    domain: string,
    target: string,
    where: 'live' | 'config' | 'both',
    call: CallOptions = {},
  ): Promise<void> {
    const flags = where === 'both' ? ['--live', '--config'] : [`--${where}`];
    await this.run(['detach-disk', domain, target, ...flags], call);
  }

  /** Starts a backup job, with a checkpoint made at the same instant when one is given. */
  async backupBegin(
    domain: string,
    backup: string,
    checkpoint?: string,
    call: CallOptions = {},
  ): Promise<void> {
    const documents = checkpoint === undefined ? [backup] : [backup, checkpoint];
    await this.#runWithXml(
      documents,
      ([backupPath = '', checkpointPath]) => [
        'backup-begin',
        domain,
        backupPath,
        ...(checkpointPath === undefined ? [] : ['--checkpointxml', checkpointPath]),
      ],
      call,
    );
  }

  /** The running backup job, or null when there is none. */
  async backup(domain: string, call: CallOptions = {}): Promise<BackupDescription | null> {
    try {
      return parseBackup(await this.#ask(['backup-dumpxml', domain], call));
    } catch (error) {
      if (Fault.is(error) && error.code === 'NOT_FOUND') return null;
      throw error;
    }
  }

  /** Fields of `domjobinfo` by their label, as `{ 'Job type': 'Unbounded', Operation: 'Backup' }`. */
  async jobInfo(domain: string, call: CallOptions = {}): Promise<Record<string, string>> {
    const fields: Record<string, string> = {};
    for (const line of words(await this.#ask(['domjobinfo', domain], call))) {
      const [, label, value] = /^([^:]+):\s*(.*)$/.exec(line) ?? [];
      if (label !== undefined && value !== undefined) fields[label] = value;
    }
    return fields;
  }

  /** Ends the domain's job. No job is no error: what was asked is so. */
  async jobAbort(domain: string, call: CallOptions = {}): Promise<void> {
    try {
      await this.run(['domjobabort', domain], call);
    } catch (error) {
      if (!(error instanceof Error && /no job is active/i.test(error.message))) throw error;
    }
  }

  async checkpointNames(domain: string, call: CallOptions = {}): Promise<string[]> {
    return words(await this.#ask(['checkpoint-list', domain, '--name'], call));
  }

  async checkpoint(domain: string, name: string, call: CallOptions = {}): Promise<Checkpoint> {
    return parseCheckpoint(await this.#ask(['checkpoint-dumpxml', domain, name, '--no-domain'], call));
  }

  /** Removes the checkpoint and its bitmaps; with `metadataOnly` the record alone. Gone already is no error. */
  async checkpointDelete(
    domain: string,
    name: string,
    options: { metadataOnly?: boolean } = {},
    call: CallOptions = {},
  ): Promise<void> {
    try {
      await this.run(
        ['checkpoint-delete', domain, name, ...(options.metadataOnly === true ? ['--metadata'] : [])],
        call,
      );
    } catch (error) {
      if (!(Fault.is(error) && error.code === 'NOT_FOUND')) throw error;
    }
  }

  /** Tells libvirt again of a checkpoint whose bitmaps are in the images (its records are lost with the definition). */
  async checkpointRedefine(domain: string, xml: string, call: CallOptions = {}): Promise<void> {
    await this.#runWithXml([xml], ([path = '']) => ['checkpoint-create', domain, path, '--redefine'], call);
  }

  /**
   * The block nodes of a running QEMU with their dirty bitmaps, which libvirt itself does not tell: one QMP query, which changes
   * nothing. Throws LIBVIRT_FAILED where the monitor is not to be had.
   */
  async blockNodes(domain: string, call: CallOptions = {}): Promise<BlockNode[]> {
    const query = { execute: 'query-named-block-nodes', arguments: { flat: true } };
    const command = ['qemu-monitor-command', domain, JSON.stringify(query)];
    return parseBlockNodes(returned(query.execute, await this.#ask(command, call)));
  }

  /** Asks the guest's agent to freeze its file systems; how many it froze. Throws LIBVIRT_FAILED without an agent. */
  async freeze(domain: string, call: CallOptions = {}): Promise<number> {
    return countOf(await this.run(['domfsfreeze', domain], call));
  }

  /** Asks the guest's agent to thaw what is frozen; how many it thawed, 0 when nothing was frozen. */
  async thaw(domain: string, call: CallOptions = {}): Promise<number> {
    return countOf(await this.run(['domfsthaw', domain], call));
  }

  /**
   * `<domainsnapshot>`; with `diskOnly` an external one at once over all disks named in it; with `noMetadata` libvirt keeps no
   * record of it.
   */
  async snapshotCreate(
    domain: string,
    xml: string,
    options: { diskOnly?: boolean; quiesce?: boolean; noMetadata?: boolean } = {},
    call: CallOptions = {},
  ): Promise<void> {
    const flags = [
      ...(options.diskOnly === true ? ['--disk-only', '--atomic'] : []),
      ...(options.quiesce === true ? ['--quiesce'] : []),
      ...(options.noMetadata === true ? ['--no-metadata'] : []),
    ];
    await this.#runWithXml([xml], ([path = '']) => ['snapshot-create', domain, path, ...flags], {
      timeoutMs: 600_000,
      ...call,
    });
  }

  async snapshotNames(domain: string, call: CallOptions = {}): Promise<string[]> {
    return words(await this.#ask(['snapshot-list', domain, '--name'], call));
  }

  async snapshotXml(domain: string, name: string, call: CallOptions = {}): Promise<string> {
    return await this.#ask(['snapshot-dumpxml', domain, `--snapshotname=${name}`], call);
  }

  async snapshotDelete(
    domain: string,
    name: string,
    options: { metadataOnly?: boolean; children?: boolean } = {},
    call: CallOptions = {},
  ): Promise<void> {
    const flags = [
      ...(options.metadataOnly === true ? ['--metadata'] : []),
      ...(options.children === true ? ['--children'] : []),
    ];
    await this.run(['snapshot-delete', domain, `--snapshotname=${name}`, ...flags], {
      timeoutMs: 600_000,
      ...call,
    });
  }

  async snapshotRevert(domain: string, name: string, call: CallOptions = {}): Promise<void> {
    await this.run(['snapshot-revert', domain, `--snapshotname=${name}`], { timeoutMs: 600_000, ...call });
  }

  /**
   * One QMP command beside libvirt, as `{ execute, arguments }`; its `return` value. Marks the domain tainted, and libvirt
   * does not know what it changes: for looking, and for the lab. Throws LIBVIRT_FAILED with QEMU's words.
   */
  async qemuMonitorCommand(
    domain: string,
    command: { execute: string; arguments?: Record<string, unknown> },
    call: CallOptions = {},
  ): Promise<unknown> {
    const args = ['qemu-monitor-command', domain, JSON.stringify(command)];
    return returned(command.execute, await this.run(args, call));
  }

  /** One line of QEMU's human monitor (`qemu-io vda "write 0 64k"`); what it printed. */
  async humanMonitorCommand(domain: string, line: string, call: CallOptions = {}): Promise<string> {
    return await this.run(['qemu-monitor-command', domain, '--hmp', line], call);
  }
}
