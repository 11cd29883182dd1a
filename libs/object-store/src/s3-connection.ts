import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { Fault } from '@casvault/contracts';
import { failureOf, isPassing, s3Fault } from './s3-faults.js';
import { type RetryPolicy, withRetry } from './s3-retry.js';

export interface S3Location {
  readonly kind: 's3';
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** Folder of the pool in its bucket; empty: the bucket is the pool's alone. */
  readonly prefix: string;
  readonly accessKeyId: string;
  readonly secretKey: string;
  readonly forcePathStyle: boolean;
}

export interface S3Timeouts {
  readonly connectMs: number;
  /** Longest silence of the store in the middle of a request. */
  readonly silenceMs: number;
}

export const defaultTimeouts: S3Timeouts = { connectMs: 10_000, silenceMs: 60_000 };

/** Whether bodies go unsigned: TLS guards them on the way, and the store checks a CRC. Without TLS they are signed. */
export const isUnsigned = (location: S3Location): boolean => new URL(location.endpoint).protocol === 'https:';

const clientConfig = (location: S3Location, timeouts: S3Timeouts, ca?: string): S3ClientConfig => ({
  endpoint: location.endpoint,
  region: location.region,
  forcePathStyle: location.forcePathStyle,
  credentials: { accessKeyId: location.accessKeyId, secretAccessKey: location.secretKey },
  // One try: what may be repeated, and what a repetition means, is decided by the store.
  maxAttempts: 1,
  // Trailing checksums are unknown to older stores (Ceph before 19); ours are sent as plain headers.
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
  // It would open a connection for every body over 2 MiB.
  expectContinueHeader: false,
  requestHandler: {
    connectionTimeout: timeouts.connectMs,
    socketTimeout: timeouts.silenceMs,
    ...(ca === undefined ? {} : { httpsAgent: { ca, keepAlive: true } }),
  },
});

const makeClient = (location: S3Location, timeouts: S3Timeouts, ca?: string): S3Client => {
  const client = new S3Client(clientConfig(location, timeouts, ca));
  // Around sending and understanding: what fails here without a refusal by the store is the network, by whatever name.
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        const { status, message } = failureOf(error);
        if (status !== null && status >= 400) throw error;
        throw new Fault('POOL_UNREACHABLE', `${location.endpoint}: ${message}`, { cause: error });
      }
    },
    { step: 'deserialize', priority: 'high', name: 'transportFault' },
  );
  if (isUnsigned(location)) {
    client.middlewareStack.add(
      (next) => (args) => {
        const { request } = args as { request: { headers: Record<string, string>; body?: unknown } };
        if (request.body !== undefined) request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
        return next(args);
      },
      { step: 'build', name: 'unsignedPayload' },
    );
  }
  return client;
};

export interface S3ConnectionOptions {
  readonly retry: RetryPolicy;
  /** In `[0, 1)`. */
  readonly random: () => number;
  readonly timeouts: S3Timeouts;
  /** PEM of the authority that signed the store's certificate. */
  readonly ca?: string;
}

/** The client of one bucket: repeats what may pass, and turns what does not into the pool's faults. */
export class S3Connection {
  readonly location: S3Location;
  readonly #client: S3Client;
  readonly #options: S3ConnectionOptions;

  constructor(location: S3Location, options: S3ConnectionOptions) {
    this.location = location;
    this.#options = options;
    this.#client = makeClient(location, options.timeouts, options.ca);
  }

  /** Where an object lies. */
  address(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.location.bucket, Key: this.folder + key };
  }

  /** The pool's prefix, with its slash. */
  get folder(): string {
    const bare = this.location.prefix.replace(/^\/+|\/+$/g, '');
    return bare === '' ? '' : `${bare}/`;
  }

  /** Runs an action that may be repeated as a whole. Errors that `expected` knows are thrown as they came. */
  async run<T>(
    what: string,
    signal: AbortSignal | undefined,
    action: (client: S3Client, options: { abortSignal?: AbortSignal }) => Promise<T>,
    expected: (error: unknown) => boolean = () => false,
  ): Promise<T> {
    const send = signal === undefined ? {} : { abortSignal: signal };
    try {
      return await withRetry(() => action(this.#client, send), {
        policy: this.#options.retry,
        random: this.#options.random,
        isPassing,
        signal,
      });
    } catch (error) {
      if (expected(error)) throw error;
      throw s3Fault(`${what} in bucket ${this.location.bucket}`, error);
    }
  }

  close(): void {
    this.#client.destroy();
  }
}
