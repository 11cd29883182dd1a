import {
  DiscardPolicy,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type JetStreamManager,
  type StreamConfig,
} from '@nats-io/jetstream';

const second = 1_000_000_000;
const hour = 3_600 * second;
const mebibyte = 1024 * 1024;

export const streamNames = { commands: 'CMD', events: 'EVT', work: 'WORK' } as const;

/**
 * Every stream is bounded. A full work queue refuses new messages (their senders try again), the log of events drops its
 * oldest: rows are the truth, and who missed an event asks. No stream covers `qry.>`: an answer of JetStream itself
 * would overtake the service's reply.
 */
const streams = (replicas: number): (Partial<StreamConfig> & { name: string })[] =>
  [
    {
      name: streamNames.commands,
      subjects: ['cmd.>'],
      retention: RetentionPolicy.Workqueue,
      discard: DiscardPolicy.New,
      max_age: 7 * 24 * hour,
      max_bytes: 256 * mebibyte,
    },
    {
      name: streamNames.events,
      subjects: ['evt.>'],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_age: 24 * hour,
      max_bytes: 256 * mebibyte,
    },
    {
      name: streamNames.work,
      subjects: ['work.>'],
      retention: RetentionPolicy.Workqueue,
      discard: DiscardPolicy.New,
      max_age: 7 * 24 * hour,
      max_bytes: 64 * mebibyte,
    },
  ].map((stream) => ({
    ...stream,
    storage: StorageType.File,
    num_replicas: replicas,
    // Longer than any retry of a sender that doesn't know whether its message arrived.
    duplicate_window: 600 * second,
  }));

const alreadyExists = 10058;

/** Safe to run by any number of processes at once. */
export const ensureStreams = async (manager: JetStreamManager, replicas: number): Promise<void> => {
  for (const stream of streams(replicas))
    try {
      await manager.streams.add(stream);
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== alreadyExists) throw error;
      await manager.streams.update(stream.name, stream);
    }
};
