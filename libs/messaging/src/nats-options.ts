import { type Logger } from '@casvault/contracts';

export interface NatsOptions {
  /** `nats://host:port` or `tls://…`, several separated by commas; may hold `user:password@`. */
  readonly url: string;
  /** Name of the service: its queue group, its durable consumers, its connection. */
  readonly service: string;
  readonly logger: Logger;
  /** Content of a NATS `.creds` file. */
  readonly credentials?: string;
  /** PEM of the authority that signed the server's certificate, where the system doesn't know it. */
  readonly caCertificate?: string;
  /** Copies of the streams in a cluster of NATS servers: 1 (default), 3 or 5. */
  readonly replicas?: number;
  /** Ends the wait for a server that isn't there yet. */
  readonly signal?: AbortSignal;
}
