/**
 * libvirt through its own command line, virsh: no npm binding of libvirt is kept up (the published ones stopped at
 * old Node versions), and virsh is on every host that runs libvirt, speaks to every version of its daemon and keeps our
 * process free of native code. What changes something is a short-lived process of its own (10-30 ms, more on a busy host); questions go to
 * one virsh that stays connected (2 ms), and to a process whenever that one is busy or not as expected. Nothing here polls.
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
