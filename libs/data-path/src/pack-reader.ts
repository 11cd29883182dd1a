import { type KeyObject } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  BLOCK_BYTES,
  blocksIn,
  damaged,
  GROUP_BYTES,
  ID_BYTES,
  openDecompress,
  openFrame,
  packFrameKey,
  packKey,
  type FrameRef,
  type Suite,
} from '@casvault/repository';
import { BufferPool, pageAlignedBuffer } from './page-memory.js';
import { frameFields, writingJobs, type PackDone, type PackJob } from './restore-thread.js';
import { blockLength } from './slice.js';

/** What is read by one request; several frames fit. */
const readBufferBytes = 4 * 1_048_576;
/** One being unpacked while the next are read: with one read ahead, a medium that is written at the same time kept threads waiting. */
const readBuffers = 4;
/** Frames that are not wanted and lie between others are read along up to this size: cheaper than another request. */
const gapBytes = 512 * 1024;
/** Unpacked frames, each held until its blocks are written. */
const plainBuffers = 9;
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
 * calls, at most `writingJobs` of them being written; the next stretches are read meanwhile. A failed job does not harm the others.
 * Memory: 4 buffers of 4 MiB, 9 frames of 1 MiB, another one when encrypted.
 */
export class PackReader {
  readonly #store: ObjectStore;
  readonly #suite: Suite;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #buffers = new BufferPool(readBuffers, () => pageAlignedBuffer(readBufferBytes));
  readonly #plains = new BufferPool(plainBuffers, () => Buffer.allocUnsafeSlow(GROUP_BYTES + 64));
  readonly #decompress = openDecompress();
  #coded: Buffer = Buffer.alloc(0);
  #reading: Promise<unknown> = Promise.resolve();
  #unpacking: Promise<unknown> = Promise.resolve();
  /** Ends of the last jobs, oldest first. */
  #ends: readonly Promise<unknown>[] = Array.from({ length: writingJobs }, () => Promise.resolve());

  constructor(options: { store: ObjectStore; suite: Suite; folder: string; signal: AbortSignal }) {
    this.#store = options.store;
    this.#suite = options.suite;
    this.#folder = options.folder;
    this.#signal = options.signal;
  }

  /** Resolves when all of the job's blocks are checked and written. */
  unpack(job: PackJob, sizeBytes: number, sink: BlockSink | null): Promise<PackDone> {
    const [turn, ...between] = this.#ends;
    const end = this.#unpackAt(turn!, job, sizeBytes, sink);
    this.#ends = [...between, end.catch(() => undefined)];
    return end;
  }

  async #unpackAt(
    turn: Promise<unknown>,
    job: PackJob,
    sizeBytes: number,
    sink: BlockSink | null,
  ): Promise<PackDone> {
    const state = new JobState(
      job,
      packKey(this.#folder, job.pack),
      packFrameKey(this.#suite, job.pack),
      sizeBytes,
      turn,
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
        await state.turn;
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
      const into = await this.#plains.take();
      const at = frame.ref.offset - stretch.offset;
      const writes: Promise<void>[] = [];
      try {
        const plain = this.#open(state, frame.ref, buffer.subarray(at, at + frame.ref.storedLength), into);
        state.storedBytes += frame.ref.storedLength;
        for (const { offset, bytes } of runsOf(state, frame, plain, this.#suite)) {
          state.doneBytes += bytes.length;
          if (sink !== null) writes.push(sink.write(offset, bytes));
        }
      } finally {
        state.writes.add(this.#settle(state, writes, into));
      }
      // Let replies and an abort have their turn.
      await new Promise(setImmediate);
      if (state.failure !== null) return;
      if (this.#signal.aborted) throw Fault.ofAbort(this.#signal);
    }
  }

  /** The plain bytes, in `into`: what the read buffer holds is gone before it is written. */
  #open(state: JobState, ref: FrameRef, stored: Buffer, into: Buffer): Uint8Array {
    const plain = openFrame(
      this.#suite,
      state.packKey,
      'data',
      ref,
      stored,
      state.key,
      (coded, length, what, object) => {
        const room = into.subarray(0, length + 1);
        if (this.#decompress(coded, room) !== length)
          throw damaged(object, `${what} does not decompress to ${length} bytes`);
        return room.subarray(0, length);
      },
      this.#codedRoom(state, stored.length),
    );
    if (plain.buffer === into.buffer) return plain;
    into.set(plain);
    return into.subarray(0, plain.length);
  }

  /** For what is unsealed. */
  #codedRoom({ packKey }: JobState, bytes: number): Buffer | undefined {
    if (packKey === null) return undefined;
    if (this.#coded.length < bytes) this.#coded = Buffer.allocUnsafeSlow(Math.max(bytes, GROUP_BYTES));
    return this.#coded;
  }

  async #settle(state: JobState, writes: Promise<void>[], into: Buffer): Promise<void> {
    for (const settled of await Promise.allSettled(writes)) {
      if (settled.status === 'rejected') state.fail(settled.reason);
    }
    this.#plains.give(into);
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
    readonly packKey: KeyObject | null,
    readonly sizeBytes: number,
    /** Nothing of the job is unpacked before it. */
    readonly turn: Promise<unknown>,
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
