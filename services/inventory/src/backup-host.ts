import { type BackupHost } from '@casvault/contracts';

/** Movers report every 10 s: three reports missed, and a little for the clocks. */
export const silenceMs = 35_000;

/** A4: heartbeats alone decide. */
export const stateOf = (lastSeenAt: Date, now: Date): BackupHost['state'] =>
  now.getTime() - lastSeenAt.getTime() > silenceMs ? 'offline' : 'online';
