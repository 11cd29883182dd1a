import { attribute, child, children, escapeXml, parseXml, text } from './xml.js';

/** libvirt's own TLS for the NBD server, configured on the host in qemu.conf (`backup_tls_x509_cert_dir`). */
export type BackupTls = 'off' | 'x509';

export interface BackupDisk {
  readonly target: string;
  /** Absent: the disk stays out of the backup. */
  readonly scratchFile?: string;
  /** Checkpoint since which the export's dirty bitmap counts. Needs libvirt 7.1 or newer per disk. */
  readonly incrementalFrom?: string;
}

/** A pull-mode backup: what virDomainBackupBegin takes, and what a running job's description tells. */
export interface BackupPlan {
  readonly address: string;
  readonly port: number;
  readonly tls: BackupTls;
  readonly disks: readonly BackupDisk[];
}

/** `<domainbackup>`. Exports are named by their target; the bitmap is `backup-<target>` (libvirt's own name). */
export function backupXml(plan: BackupPlan): string {
  const tls = plan.tls === 'x509' ? " tls='yes'" : '';
  const disks = plan.disks.map((disk) => {
    const name = escapeXml(disk.target);
    if (disk.scratchFile === undefined) return `<disk name='${name}' backup='no'/>`;
    const since =
      disk.incrementalFrom === undefined
        ? " backupmode='full'"
        : ` backupmode='incremental' incremental='${escapeXml(disk.incrementalFrom)}'`;
    // Without type='file' libvirt's schema error misleads.
    return (
      `<disk name='${name}' backup='yes' type='file'${since} exportname='${name}'>` +
      `<driver type='qcow2'/><scratch file='${escapeXml(disk.scratchFile)}'/></disk>`
    );
  });
  return (
    `<domainbackup mode='pull'>` +
    `<server transport='tcp' name='${escapeXml(plan.address)}' port='${String(plan.port)}'${tls}/>` +
    `<disks>${disks.join('')}</disks></domainbackup>`
  );
}

/** What `backup-dumpxml` tells of the running job; port 0 and address '' when it serves on a unix socket. */
export function parseBackup(xml: string): BackupPlan {
  const root = parseXml(xml, 'domainbackup');
  const server = child(root, 'server');
  const list = child(root, 'disks');
  return {
    address: attribute(server, 'name') ?? '',
    port: Number(attribute(server, 'port') ?? 0),
    tls: attribute(server, 'tls') === 'yes' ? 'x509' : 'off',
    disks: (list ? children(list, 'disk') : []).map((disk) => {
      const scratchFile = attribute(child(disk, 'scratch'), 'file');
      const incrementalFrom = attribute(disk, 'incremental');
      return {
        target: attribute(disk, 'name') ?? '',
        ...(scratchFile === undefined ? {} : { scratchFile }),
        ...(incrementalFrom === undefined ? {} : { incrementalFrom }),
      };
    }),
  };
}

/** `<domaincheckpoint>` over the given disks; the others are left out by name. libvirt keeps `description` with it. */
export function checkpointXml(
  name: string,
  disks: readonly { target: string; checkpoint: boolean }[],
  description = '',
): string {
  const list = disks.map(
    (disk) => `<disk name='${escapeXml(disk.target)}' checkpoint='${disk.checkpoint ? 'bitmap' : 'no'}'/>`,
  );
  const about = description === '' ? '' : `<description>${escapeXml(description)}</description>`;
  return `<domaincheckpoint><name>${escapeXml(name)}</name>${about}<disks>${list.join('')}</disks></domaincheckpoint>`;
}

/**
 * `<domaincheckpoint>` of bitmaps that lie in the images already, for `Libvirt.checkpointRedefine`: each is named as the
 * checkpoint is. `createdAtSeconds` since 1970.
 */
export function knownCheckpointXml(checkpoint: {
  readonly name: string;
  readonly description: string;
  readonly createdAtSeconds: number;
  readonly targets: readonly string[];
}): string {
  const name = escapeXml(checkpoint.name);
  const disks = checkpoint.targets.map(
    (target) => `<disk name='${escapeXml(target)}' checkpoint='bitmap' bitmap='${name}'/>`,
  );
  return (
    `<domaincheckpoint><name>${name}</name><description>${escapeXml(checkpoint.description)}</description>` +
    `<creationTime>${String(checkpoint.createdAtSeconds)}</creationTime><disks>${disks.join('')}</disks></domaincheckpoint>`
  );
}

export interface ParsedCheckpoint {
  readonly name: string;
  readonly parent: string | null;
  /** Seconds since 1970 by the host's clock, as libvirt keeps it. */
  readonly createdAtSeconds: number;
  /** Empty when it was made without one. */
  readonly description: string;
  readonly targets: readonly string[];
}

export function parseCheckpoint(xml: string): ParsedCheckpoint {
  const root = parseXml(xml, 'domaincheckpoint');
  const list = child(root, 'disks');
  return {
    name: text(root, 'name') ?? '',
    parent: text(child(root, 'parent'), 'name') ?? null,
    createdAtSeconds: Number(text(root, 'creationTime') ?? 0),
    description: text(root, 'description') ?? '',
    targets: (list ? children(list, 'disk') : [])
      .filter((disk) => attribute(disk, 'checkpoint') === 'bitmap')
      .map((disk) => attribute(disk, 'name') ?? ''),
  };
}
