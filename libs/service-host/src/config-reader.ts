import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** EX_CONFIG of sysexits: a supervisor need not start it again before somebody changed something. */
export const configExitCode = 78;

/** Everything that is wrong with the environment, one problem a line; holds no values. */
export class ConfigProblems extends Error {
  override readonly name = 'ConfigProblems';
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The variable, or the content of the file that `<NAME>_FILE` names, without its last line break. Empty means not set. */
const read = (env: Environment, name: string, problems: string[]): string | undefined => {
  const value = env[name] === '' ? undefined : env[name];
  const path = env[`${name}_FILE`];
  if (path === undefined || path === '') return value;
  if (value !== undefined) {
    problems.push(`${name}: set either ${name} or ${name}_FILE, not both`);
    return undefined;
  }
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    problems.push(`${name}_FILE: ${(error as NodeJS.ErrnoException).code ?? 'unreadable'} at ${path}`);
    return undefined;
  }
};

/**
 * The service's configuration: the keys of `schema` are names of environment variables; each may come from a file
 * instead (`<NAME>_FILE`). Nothing invalid falls back to a default. Throws ConfigProblems with every problem at once.
 */
export const readConfig = <T extends z.ZodObject>(schema: T, env: Environment): z.output<T> => {
  const problems: string[] = [];
  const values: Record<string, string | undefined> = {};
  for (const name of Object.keys(schema.shape)) values[name] = read(env, name, problems);
  const result = schema.safeParse(values);
  const reported = new Set(problems.map((problem) => problem.split(/_FILE:|:/)[0]));
  for (const { path, message } of result.error?.issues ?? []) {
    const name = path.join('.');
    if (!reported.has(name)) problems.push(`${name}: ${values[name] === undefined ? 'is not set' : message}`);
  }
  if (problems.length > 0) throw new ConfigProblems(problems);
  return result.data as z.output<T>;
};

const natsUrl = /^(nats|tls):\/\/[^\s,]+(,(nats|tls):\/\/[^\s,]+)*$/;
const isKey = (key: string): boolean =>
  /^[A-Za-z0-9+/]{43}=$/.test(key.trim()) && Buffer.from(key, 'base64').length === 32;

/** Environment of every service that speaks NATS; spread it into the service's own schema. */
export const serviceShape = {
  CASVAULT_NATS_URL: z
    .string()
    .regex(natsUrl, 'must be nats://host:port or tls://host:port, several separated by commas')
    .describe('NATS server(s), with user:password@ if they ask for it'),
  CASVAULT_NATS_CREDENTIALS: z.string().optional().describe('Content of a NATS .creds file'),
  CASVAULT_NATS_CA: z.string().optional().describe('PEM of the authority of the NATS servers’ certificate'),
  CASVAULT_NATS_REPLICAS: z
    .enum(['1', '3', '5'])
    .default('1')
    .transform(Number)
    .describe('Copies of the JetStream streams'),
  CASVAULT_SEALING_KEY: z
    .string()
    .refine(
      (keys) => keys.split(',').every(isKey),
      'must be 32 bytes in base64; older keys may follow, after commas',
    )
    .describe('Seals secrets at rest and between services; one for the installation'),
  CASVAULT_HTTP_ADDRESS: z.string().default('127.0.0.1').describe('Address of health and metrics'),
  CASVAULT_HTTP_PORT: z.coerce
    .number()
    .int()
    .min(0)
    .max(65_535)
    .optional()
    .describe('Port of health and metrics; 0: any free one; not set: none'),
  CASVAULT_LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Least level of what is logged'),
  CASVAULT_DRAIN_SECONDS: z.coerce
    .number()
    .int()
    .min(1)
    .max(600)
    .default(20)
    .describe('Longest time between SIGTERM and the end'),
  OTEL_EXPORTER_OTLP_ENDPOINT: z.url().optional().describe('OTLP/HTTP collector of traces; not set: none'),
} as const;

/** Additionally, for services with a schema of their own. */
export const databaseShape = {
  CASVAULT_DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must be postgres://role:password@host:port/database')
    .describe('Postgres, as the service’s own role'),
} as const;

/** What `runService` needs to know. */
export type ServiceConfig = z.output<z.ZodObject<typeof serviceShape>> & {
  readonly CASVAULT_DATABASE_URL?: string;
};
