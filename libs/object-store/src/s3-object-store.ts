import { randomInt, randomUUID } from 'node:crypto';
import { type Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { Fault } from '@casvault/contracts';
import {
  type Body,
  bodyParts,
  existingObject,
  missingObject,
  planRead,
  requireGoing,
  requireRange,
  shortObject,
} from './body.js';
import { isObjectKey, requireKeyPrefix, requireObjectKey } from './object-key.js';
import {
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type SignalOption,
  type StoreUsage,
} from './object-store.js';
import {
  defaultTimeouts,
  isUnsigned,
  S3Connection,
  type S3ConnectionOptions,
  type S3Location,
} from './s3-connection.js';
import { failureOf, isBadRange, isMissingObject, isPreconditionFailed } from './s3-faults.js';
import { defaultShape, type MultipartShape, putMultipart } from './s3-multipart.js';
import { defaultRetry } from './s3-retry.js';

export interface S3StoreOptions extends Partial<S3ConnectionOptions> {
  /** Bodies from this size on go in parts. */
  readonly multipartBytes?: number;
  readonly multipart?: MultipartShape;
  /** Objects per page of a listing. */
  readonly pageSize?: number;
  /** Unique for every put. */
  readonly nextId?: () => string;
}

/** Metadata by which a put knows its own object again. */
const putIdName = 'casvault-put';
const defaultMultipartBytes = 64 * 1024 * 1024;

/**
 * Objects in a bucket of any store that speaks S3 with conditional puts (`If-None-Match: *`).
 *
 * Every call is repeated a bounded number of times while the cause may pass. A put that must be the first carries an id of its
 * own: when a repetition is told that the object exists, the id shows whether an earlier try had won in truth. Such a put is
 * never sent in parts, as not every store honours the condition at their completion.
 */
export class S3ObjectStore implements ObjectStore {
  readonly #connection: S3Connection;
  readonly #options: Required<Omit<S3StoreOptions, keyof S3ConnectionOptions>>;

  constructor(location: S3Location, options: S3StoreOptions = {}) {
    this.#connection = new S3Connection(location, {
      retry: options.retry ?? defaultRetry,
      random: options.random ?? (() => randomInt(2 ** 32) / 2 ** 32),
      timeouts: options.timeouts ?? defaultTimeouts,
      ca: options.ca,
    });
    this.#options = {
      multipartBytes: options.multipartBytes ?? defaultMultipartBytes,
      multipart: options.multipart ?? defaultShape,
      pageSize: options.pageSize ?? 1000,
      nextId: options.nextId ?? randomUUID,
    };
  }

  async put(key: string, body: Body, { signal, ifAbsent = false }: PutOptions = {}): Promise<void> {
    requireObjectKey(key);
    requireGoing(signal);
    const [first, ...rest] = bodyParts(body);
    const bytes = first !== undefined && rest.length === 0 ? first : Buffer.concat(bodyParts(body));
    const id = this.#options.nextId();
    if (ifAbsent) await this.#putNew(key, bytes, id, signal);
    else if (bytes.length < this.#options.multipartBytes) await this.#putWhole(key, bytes, signal);
    else {
      await putMultipart(this.#connection, {
        key,
        bytes,
        shape: this.#options.multipart,
        metadata: { [putIdName]: id },
        checksum: (part) => this.#checksum(part),
        signal,
        isDone: () => this.#isOwn(key, id, signal),
      });
    }
  }

  async get(key: string, options: GetOptions = {}): Promise<Uint8Array> {
    requireObjectKey(key);
    requireRange(options);
    requireGoing(options.signal);
    const { range, signal } = options;
    const Range =
      range === undefined ? undefined : `bytes=${range.offset}-${range.offset + range.length - 1}`;
    try {
      return await this.#connection.run(
        `reading object ${key}`,
        signal,
        async (client, send) => {
          const reply = await client.send(new GetObjectCommand({ ...this.#address(key), Range }), send);
          return receive(key, reply, options);
        },
        (error) => isMissingObject(error) || isBadRange(error),
      );
    } catch (error) {
      if (isBadRange(error)) throw await this.#tooShort(key, options);
      throw isMissingObject(error) ? missingObject(key) : error;
    }
  }

  async stat(key: string, { signal }: SignalOption = {}): Promise<{ sizeBytes: number } | null> {
    requireObjectKey(key);
    requireGoing(signal);
    const found = await this.#head(key, signal);
    return found === null ? null : { sizeBytes: found.sizeBytes };
  }

  async *list(prefix: string, { signal }: SignalOption = {}): AsyncGenerator<ListedObject> {
    requireKeyPrefix(prefix);
    const { folder, location } = this.#connection;
    let from: string | undefined;
    do {
      requireGoing(signal);
      const request = {
        Bucket: location.bucket,
        Prefix: folder + prefix,
        MaxKeys: this.#options.pageSize,
        ContinuationToken: from,
      };
      const page = await this.#connection.run('listing the pool', signal, (client, send) =>
        client.send(new ListObjectsV2Command(request), send),
      );
      for (const { Key = '', Size = 0 } of page.Contents ?? []) {
        const key = Key.slice(folder.length);
        if (isObjectKey(key)) yield { key, sizeBytes: Size };
      }
      from = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (from !== undefined);
  }

  async delete(key: string, { signal }: SignalOption = {}): Promise<void> {
    requireObjectKey(key);
    requireGoing(signal);
    try {
      await this.#connection.run(
        `deleting object ${key}`,
        signal,
        (client, send) => client.send(new DeleteObjectCommand(this.#address(key)), send),
        isMissingObject,
      );
    } catch (error) {
      if (!isMissingObject(error)) throw error;
    }
  }

  async usage({ signal }: SignalOption = {}): Promise<StoreUsage> {
    requireGoing(signal);
    await this.#requireBucket(signal);
    return { capacityBytes: null, freeBytes: null };
  }

  async close(): Promise<void> {
    this.#connection.close();
  }

  #address(key: string): { readonly Bucket: string; readonly Key: string } {
    return this.#connection.address(key);
  }

  /** Only over TLS: without it the body is signed, which checks as much. */
  #checksum(bytes: Uint8Array): { ChecksumCRC32?: string } {
    if (!isUnsigned(this.#connection.location)) return {};
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(bytes));
    return { ChecksumCRC32: sum.toString('base64') };
  }

  async #putWhole(key: string, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const request = { ...this.#address(key), Body: bytes, ...this.#checksum(bytes) };
    await this.#connection.run(`writing object ${key}`, signal, (client, send) =>
      client.send(new PutObjectCommand(request), send),
    );
  }

  async #putNew(key: string, bytes: Uint8Array, id: string, signal: AbortSignal | undefined): Promise<void> {
    const condition = { IfNoneMatch: '*', Metadata: { [putIdName]: id } };
    const request = { ...this.#address(key), Body: bytes, ...this.#checksum(bytes), ...condition };
    try {
      await this.#connection.run(
        `writing object ${key}`,
        signal,
        (client, send) => client.send(new PutObjectCommand(request), send),
        isPreconditionFailed,
      );
    } catch (error) {
      if (!isPreconditionFailed(error)) throw error;
      if (!(await this.#isOwn(key, id, signal))) throw existingObject(key);
    }
  }

  /** Whether the object under a key was written by the put with this id. */
  async #isOwn(key: string, id: string, signal: AbortSignal | undefined): Promise<boolean> {
    return (await this.#head(key, signal))?.putId === id;
  }

  async #head(
    key: string,
    signal?: AbortSignal,
  ): Promise<{ sizeBytes: number; putId: string | undefined } | null> {
    try {
      const reply = await this.#connection.run(
        `looking at object ${key}`,
        signal,
        (client, send) => client.send(new HeadObjectCommand(this.#address(key)), send),
        isMissingObject,
      );
      return { sizeBytes: reply.ContentLength ?? 0, putId: reply.Metadata?.[putIdName] };
    } catch (error) {
      if (!isMissingObject(error)) throw error;
      // The reply to HEAD has no body to tell a missing bucket from a missing object.
      await this.#requireBucket(signal);
      return null;
    }
  }

  /** Not being allowed to ask about the bucket is no proof of its absence. */
  async #requireBucket(signal: AbortSignal | undefined): Promise<void> {
    const mayNotAsk = (error: unknown): boolean => failureOf(error).status === 403;
    try {
      await this.#connection.run(
        'looking at the pool',
        signal,
        (client, send) =>
          client.send(new HeadBucketCommand({ Bucket: this.#connection.location.bucket }), send),
        mayNotAsk,
      );
    } catch (error) {
      if (!mayNotAsk(error)) throw error;
    }
  }

  async #tooShort(key: string, { range, signal }: GetOptions): Promise<Fault> {
    const found = await this.#head(key, signal);
    return found === null
      ? missingObject(key)
      : shortObject(key, found.sizeBytes, range ?? { offset: 0, length: 0 });
  }
}

/** Takes the body of a reply into place. */
const receive = async (
  key: string,
  reply: GetObjectCommandOutput,
  options: GetOptions,
): Promise<Uint8Array> => {
  const body = reply.Body as Readable;
  try {
    const plan = planRead(key, totalBytes(reply, options), options);
    if (reply.ContentLength !== plan.length)
      throw new Fault('POOL_UNREACHABLE', `object ${key}: another range came`);
    const into = options.into ?? new Uint8Array(plan.length);
    let at = 0;
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      if (at + piece.length > plan.length)
        throw new Fault('POOL_UNREACHABLE', `object ${key}: too many bytes came`);
      into.set(piece, at);
      at += piece.length;
    }
    if (at < plan.length)
      throw new Fault('POOL_UNREACHABLE', `object ${key}: ${at} of ${plan.length} bytes came`);
    return into.subarray(0, at);
  } catch (error) {
    body.destroy();
    if (Fault.is(error)) throw error;
    throw new Fault('POOL_UNREACHABLE', `object ${key}: its bytes stopped coming`, { cause: error });
  }
};

/** Size of the whole object: `Content-Range: bytes 0-9/100` says it for a part. */
const totalBytes = (reply: GetObjectCommandOutput, { range }: GetOptions): number => {
  const total = /\/([0-9]+)$/.exec(reply.ContentRange ?? '')?.[1];
  if (range !== undefined && total !== undefined) return Number(total);
  return reply.ContentLength ?? 0;
};
