/**
 * libvirt through its own command line, virsh: no npm binding of libvirt is kept up (the published ones stopped at
 * old Node versions), and virsh is on every host that runs libvirt, speaks to every version of its daemon and keeps our
 * process free of native code. One short-lived process per call (10-30 ms); nothing here polls or holds a connection.
 *
 * Promises: every call is bounded in time and can be aborted; what libvirt refuses comes back as a `Fault` with virsh's
 * words; nothing is parsed out of tables made for people where a stable form exists (XML, `domstats`).
 * Never here: decisions about which VM may be captured, and anything about H3C CAS.
 */
export { Libvirt } from './libvirt.js';
export type { BackupDescription, Checkpoint } from './libvirt.js';
export type { Domain, DomainDisk, DomainState, DomainSummary } from './domain.js';
export { backupXml, checkpointXml, knownCheckpointXml } from './backup-xml.js';
export type { BackupDisk, BackupPlan, BackupTls } from './backup-xml.js';
export type { BlockNode, NodeBitmap } from './block-nodes.js';
export { escapeXml } from './xml.js';
export type { CallOptions, VirshOptions } from './virsh.js';
