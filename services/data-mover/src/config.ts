import { createHash } from 'node:crypto';
import { hostname, networkInterfaces } from 'node:os';
import { backupHostIdSchema, type BackupHostId } from '@casvault/contracts';
import { databaseShape, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

const roleShape = {
  CASVAULT_DATA_MOVER_ROLE: z
    .enum(['controller', 'worker'])
    .describe('controller: transfers and leases, with a database. worker: moves the data, without one'),
} as const;

const podCount = z.number().int().max(1_000);
const scaledGroupSchema = z
  .strictObject({
    group: z.string().min(1).max(64),
    deployment: z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'is no name of a Deployment'),
    min: podCount.min(0),
    max: podCount.min(1),
    transfers: z.number().int().min(1).max(64),
    cooldownSeconds: z.number().int().min(0).max(86_400),
  })
  .refine(({ min, max }) => min <= max, 'min is larger than max');

const scaledGroups = z
  .string()
  .transform((text, context) => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      context.addIssue('is no JSON');
      return z.NEVER;
    }
  })
  .pipe(z.array(scaledGroupSchema).max(64));

const controllerSchema = z.object({
  ...serviceShape,
  ...databaseShape,
  ...roleShape,
  CASVAULT_DATA_MOVER_SCALER: scaledGroups
    .default([])
    .describe(
      'On Kubernetes: groups whose number of movers it sets, as JSON [{group, deployment, min, max, transfers, cooldownSeconds}]',
    ),
  CASVAULT_DATA_MOVER_SCALER_LEASE: z
    .string()
    .min(1)
    .max(63)
    .default('casvault-scaler')
    .describe('Name of the Lease by which the controllers choose the one that scales'),
});
export type ControllerConfig = z.output<typeof controllerSchema>;

const workerSchema = z.object({
  ...serviceShape,
  ...roleShape,
  CASVAULT_DATA_MOVER_GROUP: z
    .string()
    .min(1)
    .max(64)
    .default('default')
    .describe('Group of backup hosts whose transfers it takes'),
  CASVAULT_DATA_MOVER_NAME: z
    .string()
    .min(1)
    .max(128)
    .default(hostname())
    .describe('Name of the backup host, unique in its group; default: the host name'),
  CASVAULT_DATA_MOVER_ID: backupHostIdSchema
    .optional()
    .describe('Id of the backup host, a UUID; default: made from group and name'),
  CASVAULT_DATA_MOVER_ADDRESS: z
    .string()
    .min(1)
    .max(253)
    .optional()
    .describe('Shown as its address; default: the first that is not loopback'),
  CASVAULT_DATA_MOVER_TIME_ZONE: z
    .string()
    .default(Intl.DateTimeFormat().resolvedOptions().timeZone)
    .refine(
      (zone) => Intl.supportedValuesOf('timeZone').includes(zone) || zone === 'UTC',
      'is no IANA time zone',
    )
    .describe('Plans run in it; default: the system’s'),
  CASVAULT_DATA_MOVER_TRANSFERS: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(2)
    .describe('Transfers at the same time'),
  CASVAULT_DATA_MOVER_CONTENT_PORT: z.coerce
    .number()
    .int()
    .min(0)
    .max(65_535)
    .default(0)
    .describe('Port on which the gateway fetches downloads, with a ticket for each; 0: any that is free'),
  CASVAULT_DATA_MOVER_CONTENT_DOWNLOADS: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(4)
    .describe('Downloads at the same time'),
  CASVAULT_DATA_MOVER_TRANSFER_LOGS: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Folder of a log file for each transfer; default: they are told in the log of the service alone',
    ),
  CASVAULT_DATA_MOVER_TRANSFER_LOGS_KEEP: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe('Logs of transfers that stay, of 4 MiB at the most; older ones go'),
  CASVAULT_DATA_MOVER_TRANSFER_LOGS_DAYS: z.coerce
    .number()
    .int()
    .min(1)
    .max(3_650)
    .default(30)
    .describe('Days after which a log of a transfer goes'),
  CASVAULT_DATA_MOVER_SCRIPTS: z
    .string()
    .startsWith('/', 'must be an absolute path')
    .optional()
    .describe(
      'Folder of the scripts that jobs may name (preconditions, pre and post scripts); default: none may be run',
    ),
  CASVAULT_DATA_MOVER_TLS_CA: z
    .string()
    .optional()
    .describe('PEM of the authority of the disk services’ certificates; default: the system’s'),
  CASVAULT_DATA_MOVER_TLS_CERT: z
    .string()
    .optional()
    .describe('PEM of our certificate, where they ask for one'),
  CASVAULT_DATA_MOVER_TLS_KEY: z.string().optional().describe('PEM of its key'),
});
export type WorkerConfig = z.output<typeof workerSchema>;

type Environment = Readonly<Record<string, string | undefined>>;

/** Which of the two this process is. What is neither is refused by the controller's configuration. */
export const roleOf = (env: Environment = process.env): 'controller' | 'worker' =>
  env['CASVAULT_DATA_MOVER_ROLE'] === 'worker' ? 'worker' : 'controller';
export const controllerConfig = (env: Environment = process.env): ControllerConfig =>
  readConfig(controllerSchema, env);
export const workerConfig = (env: Environment = process.env): WorkerConfig => readConfig(workerSchema, env);

/** The same after every start of the same host: a claim that its dead predecessor held is taken over at once. */
export const workerIdOf = ({
  CASVAULT_DATA_MOVER_ID: id,
  CASVAULT_DATA_MOVER_GROUP: group,
  CASVAULT_DATA_MOVER_NAME: name,
}: WorkerConfig): BackupHostId => id ?? madeWorkerId(group, name);

/** Of a worker that is given no id; on Kubernetes its name is its pod's. */
export const madeWorkerId = (group: string, name: string): BackupHostId => {
  const hex = createHash('sha256').update(`casvault-backup-host\0${group}\0${name}`).digest('hex');
  const variant = ((parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return backupHostIdSchema.parse(
    `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
  );
};

/** How the disk services and their exports are known to us, and we to them, where they speak TLS. */
export const diskTlsOf = ({
  CASVAULT_DATA_MOVER_TLS_CA: ca,
  CASVAULT_DATA_MOVER_TLS_CERT: cert,
  CASVAULT_DATA_MOVER_TLS_KEY: key,
}: WorkerConfig): { ca?: string; cert?: string; key?: string } => ({
  ...(ca === undefined ? {} : { ca }),
  ...(cert === undefined ? {} : { cert }),
  ...(key === undefined ? {} : { key }),
});

export const addressOf = ({ CASVAULT_DATA_MOVER_ADDRESS: address }: WorkerConfig): string => {
  const addresses = Object.values(networkInterfaces()).flat();
  return address ?? addresses.find((one) => one?.family === 'IPv4' && !one.internal)?.address ?? '127.0.0.1';
};
