import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  BLOCK_BYTES,
  blocksIn,
  damaged,
  ID_BYTES,
  openFrame,
  packFrameKey,
  packKey,
  type FrameRef,
  type Suite,
} from '@casvault/repository';
import { PACK_BYTES } from './pack-writer.js';
import { BufferPool, pageAlignedBuffer } from './page-memory.js';
import { frameFields, type PackDone, type PackJob } from './restore-thread.js';
import { blockLength } from './slice.js';

/** Whole packs of this product fit. */
const readBufferBytes = PACK_BYTES + 2 * 1_048_576;
/** One being unpacked while the next is read. */
const readBuffers = 2;
/** Frames that are not wanted and lie between others are read along up to this size: cheaper than another request. */
const gapBytes = 512 * 1024;
const writesInFlight = 8;
const diskPage = 4096;

/** Where unpacked bytes go. */
export interface BlockSink {
  write(offset: number, from: Uint8Array): Promise<void>;
}

interface WantedFrame {
  readonly ref: FrameRef;
  /** First and end row of its blocks in the job. */
  readonly first: number;
  readonly end: number;
}

/** Neighbouring frames, read by one request. */
interface Stretch {
  readonly offset: number;
  length: number;
  readonly frames: WantedFrame[];
}

/**
 * Fetches frames of packs, unpacks each once, checks every block by its id and hands runs of them on. Jobs are worked on in the order of their
 * calls; the next stretch is read meanwhile. A failed job does not harm the others.
 * Memory: 2 buffers of 10 MiB, 8 + 1 frames of 1 MiB.
 */
export class PackReader {
  readonly #store: ObjectStore;
  readonly #suite: Suite;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #buffers = new BufferPool(readBuffers, () => pageAlignedBuffer(readBufferBytes));
  readonly #writes = new Set<Promise<void>>();
  #reading: Promise<unknown> = Promise.resolve();
  #unpacking: Promise<unknown> = Promise.resolve();

  constructor(options: { store: ObjectStore; suite: Suite; folder: string; signal: AbortSignal }) {
    this.#store = options.store;
    this.#suite = options.suite;
    this.#folder = options.folder;
    this.#signal = options.signal;
  }

  /** Resolves when all of the job's blocks are checked and written. */
  async unpack(job: PackJob, sizeBytes: number, sink: BlockSink | null): Promise<PackDone> {
    const state = new JobState(
      job,
      packKey(this.#folder, job.pack),
      packFrameKey(this.#suite, job.pack),
      sizeBytes,
    );
    const parts: Promise<void>[] = [];
    for (const stretch of stretchesOf(job)) parts.push(this.#part(state, stretch, sink));
    for (const settled of await Promise.allSettled(parts)) {
      if (settled.status === 'rejected') state.fail(settled.reason);
    }
    await Promise.all(state.writes);
    if (state.failure !== null) throw state.failure;
    return { doneBytes: state.doneBytes, storedBytes: state.storedBytes };
  }

  /** Reads begin one after the other, as buffers come free; stretches are unpacked in the same order. */
  #part(state: JobState, stretch: Stretch, sink: BlockSink | null): Promise<void> {
    const taken = this.#reading.then(async () => {
      const buffer = await this.#buffers.take();
      return { buffer, read: this.#read(state, stretch, buffer) };
    });
    this.#reading = taken;
    const unpacked = this.#unpacking.then(async () => {
      const { buffer, read } = await taken;
      try {
        await read;
        if (state.failure === null) await this.#unpackStretch(state, stretch, buffer, sink);
      } finally {
        this.#buffers.give(buffer);
      }
    });
    this.#unpacking = unpacked.catch(() => undefined);
    return unpacked;
  }

  async #read(state: JobState, { offset, length }: Stretch, into: Buffer): Promise<void> {
    if (state.failure !== null) return;
    try {
      await this.#store.get(state.key, { range: { offset, length }, into, signal: this.#signal });
    } catch (error) {
      state.fail(error);
    }
  }

  async #unpackStretch(
    state: JobState,
    stretch: Stretch,
    buffer: Buffer,
    sink: BlockSink | null,
  ): Promise<void> {
    for (const frame of stretch.frames) {
      const { ref } = frame;
      const at = ref.offset - stretch.offset;
      const stored = buffer.subarray(at, at + ref.storedLength);
      const opened = openFrame(this.#suite, state.packKey, 'data', ref, stored, state.key);
      // Bytes of a frame without compression are a view of the read buffer, which is given back before they are written.
      const plain = opened.buffer === buffer.buffer && sink !== null ? Buffer.from(opened) : opened;
      state.storedBytes += ref.storedLength;
      for (const run of runsOf(state, frame, plain, this.#suite)) {
        state.doneBytes += run.bytes.length;
        if (sink !== null) await this.#write(state, sink, run);
      }
      // Let replies and an abort have their turn.
      await new Promise(setImmediate);
      if (state.failure !== null) return;
      if (this.#signal.aborted) throw Fault.ofAbort(this.#signal);
    }
  }

  async #write(state: JobState, sink: BlockSink, { offset, bytes }: Run): Promise<void> {
    while (this.#writes.size >= writesInFlight) await Promise.race(this.#writes);
    const write = sink
      .write(offset, bytes)
      .catch((error: unknown) => {
        state.fail(error);
      })
      .finally(() => {
        this.#writes.delete(write);
        state.writes.delete(write);
      });
    this.#writes.add(write);
    state.writes.add(write);
  }
}

class JobState {
  readonly writes = new Set<Promise<void>>();
  doneBytes = 0;
  storedBytes = 0;
  failure: Fault | null = null;

  constructor(
    readonly job: PackJob,
    readonly key: string,
    readonly packKey: Buffer | null,
    readonly sizeBytes: number,
  ) {}

  fail(error: unknown): void {
    this.failure ??= Fault.from(error);
  }
}

interface Run {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Checks the blocks of a frame; yields runs that are neighbours both in the frame and on the disk. */
function* runsOf(state: JobState, frame: WantedFrame, plain: Uint8Array, suite: Suite): Generator<Run> {
  const { blocks, ids } = state.job;
  let run: { offset: number; start: number; end: number } | null = null;
  for (let row = frame.first; row < frame.end; row += 1) {
    const block = blocks[row * 2]!;
    const start = blocks[row * 2 + 1]! * BLOCK_BYTES;
    const end = start + blockLength(block, state.sizeBytes);
    const id = ids.subarray(row * ID_BYTES, (row + 1) * ID_BYTES);
    if (end > plain.length || !suite.identify(plain.subarray(start, end)).equals(id)) {
      throw damaged(state.key, `frame ${frame.ref.frame} does not hold block ${block} of the disk`);
    }
    if (run !== null && run.end === start && run.offset + (start - run.start) === block * BLOCK_BYTES)
      run.end = end;
    else {
      if (run !== null) yield { offset: run.offset, bytes: plain.subarray(run.start, run.end) };
      run = { offset: block * BLOCK_BYTES, start, end };
    }
  }
  if (run !== null) yield { offset: run.offset, bytes: plain.subarray(run.start, run.end) };
}

/** Groups frames that lie close together; every stretch begins at a page of the medium and fits a buffer. */
function stretchesOf(job: PackJob): Stretch[] {
  const stretches: Stretch[] = [];
  let row = 0;
  for (let at = 0; at < job.frames.length; at += frameFields) {
    const [frame, offset, storedLength, plainLength, codec, count] = job.frames.subarray(
      at,
      at + frameFields,
    ) as unknown as [number, number, number, number, number, number];
    const ref = {
      pack: job.pack,
      frame,
      offset,
      storedLength,
      plainLength,
      codec: codec === 1 ? 'zstd' : 'none',
    } as const;
    const wanted = { ref, first: row, end: row + count };
    row += count;
    if (count > blocksIn(plainLength)) throw new Fault('BUG', 'more blocks than a frame can hold');
    const end = offset + storedLength;
    const last = stretches.at(-1);
    const near = last !== undefined && offset <= last.offset + last.length + gapBytes;
    if (near && end - last.offset <= readBufferBytes) {
      last.length = end - last.offset;
      last.frames.push(wanted);
    } else {
      const start = offset - (offset % diskPage);
      stretches.push({ offset: start, length: end - start, frames: [wanted] });
    }
  }
  return stretches;
}
