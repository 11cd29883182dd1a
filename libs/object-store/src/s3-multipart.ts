import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { Fault } from '@casvault/contracts';
import { type S3Connection } from './s3-connection.js';
import { failureOf } from './s3-faults.js';

export interface MultipartShape {
  readonly partBytes: number;
  /** Parts under way at once. */
  readonly width: number;
}

/** 10,000 parts of 16 MiB are more than any body that fits in memory. */
export const defaultShape: MultipartShape = { partBytes: 16 * 1024 * 1024, width: 3 };

interface Upload {
  readonly connection: S3Connection;
  readonly key: string;
  readonly id: string;
  readonly signal: AbortSignal | undefined;
}

export interface MultipartRequest {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly shape: MultipartShape;
  readonly metadata: Record<string, string>;
  /** Per body, for the store to check. */
  readonly checksum: (bytes: Uint8Array) => { ChecksumCRC32?: string };
  readonly signal: AbortSignal | undefined;
  /** Whether the object is there already, from this very upload: the reply to its completion may have been lost. */
  readonly isDone: () => Promise<boolean>;
}

/**
 * Writes a large object in parts, each of which is repeated alone. It becomes visible by the completion, whole; an upload that
 * fails is taken back, one that is killed leaves nothing visible and is for the bucket's life-cycle rule to remove.
 */
export const putMultipart = async (connection: S3Connection, request: MultipartRequest): Promise<void> => {
  const { key, signal, metadata } = request;
  const created = await connection.run(`writing object ${key}`, signal, (client, send) =>
    client.send(new CreateMultipartUploadCommand({ ...connection.address(key), Metadata: metadata }), send),
  );
  if (created.UploadId === undefined) throw new Fault('POOL_UNREACHABLE', 'the store gave no upload id');
  const upload: Upload = { connection, key, id: created.UploadId, signal };
  try {
    const tags = await uploadParts(upload, request);
    await complete(upload, tags, request.isDone);
  } catch (error) {
    await takeBack(upload);
    throw error;
  }
};

/** A fixed number of workers take part after part: at most `width` of them are under way. */
const uploadParts = async (upload: Upload, request: MultipartRequest): Promise<string[]> => {
  const { bytes, shape, checksum } = request;
  const count = Math.ceil(bytes.length / shape.partBytes);
  const tags: string[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      const part = bytes.subarray(index * shape.partBytes, (index + 1) * shape.partBytes);
      tags[index] = await uploadPart(upload, index + 1, part, checksum(part)).catch((error: unknown) => {
        next = count;
        throw error;
      });
    }
  };
  const workers = Array.from({ length: Math.min(shape.width, count) }, worker);
  const outcomes = await Promise.allSettled(workers);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw Fault.from(outcome.reason);
  return tags;
};

const uploadPart = async (
  upload: Upload,
  number: number,
  part: Uint8Array,
  checksum: { ChecksumCRC32?: string },
): Promise<string> => {
  const { connection, key, id, signal } = upload;
  const command = { ...connection.address(key), UploadId: id, PartNumber: number, Body: part, ...checksum };
  const { ETag } = await connection.run(`writing part ${number} of object ${key}`, signal, (client, send) =>
    client.send(new UploadPartCommand(command), send),
  );
  return ETag ?? '';
};

const complete = async (
  { connection, key, id, signal }: Upload,
  tags: readonly string[],
  isDone: () => Promise<boolean>,
): Promise<void> => {
  const Parts = tags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }));
  const command = { ...connection.address(key), UploadId: id, MultipartUpload: { Parts } };
  const isGone = (error: unknown): boolean => failureOf(error).name === 'NoSuchUpload';
  try {
    await connection.run(
      `completing object ${key}`,
      signal,
      (client, send) => client.send(new CompleteMultipartUploadCommand(command), send),
      isGone,
    );
  } catch (error) {
    if (isGone(error) && (await isDone())) return;
    throw error;
  }
};

/** Best effort: the first failure is the one to tell of. */
const takeBack = async ({ connection, key, id }: Upload): Promise<void> => {
  const command = { ...connection.address(key), UploadId: id };
  await connection
    .run(`taking back object ${key}`, undefined, (client) =>
      client.send(new AbortMultipartUploadCommand(command)),
    )
    .catch(() => undefined);
};
