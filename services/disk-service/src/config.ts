import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { PortRange } from './host/ports.js';

/** Settings of the service, all of them from the environment (table in README.md). */
export interface Config {
  readonly address: string;
  readonly port: number;
  /** Null: callers are known by their certificates alone. */
  readonly token: string | null;
  readonly tls: { readonly cert: string; readonly key: string; readonly clientCa: string | null } | null;
  readonly libvirtUri: string;
  readonly nbdPorts: PortRange;
  /** Null: the address that the control request came to. */
  readonly nbdAddress: string | null;
  /** Folder of ca-cert.pem, server-cert.pem and server-key.pem for qemu-nbd; null: NBD without TLS. */
  readonly nbdTlsDir: string | null;
  readonly scratchDir: string;
  readonly scratchReserveBytes: number;
  readonly stateDir: string;
  readonly volumeDirs: readonly string[];
  readonly maxOpenings: number;
  /** False: running VMs are not captured by themselves, as on a host whose hypervisor can't. */
  readonly liveExport: boolean;
  readonly logLevel: string;
  /** Traces are sent when OpenTelemetry's own variable is set. */
  readonly traces: boolean;
}

/** Everything that is wrong with the environment, one problem a line; no value of a secret among them. */
export class ConfigProblems extends Error {
  override readonly name = 'ConfigProblems';
}

const prefix = 'CASVAULT_DISK_SERVICE_';

const folder = z.string().regex(/^\/[^,:]*$/, 'must be an absolute path without commas and colons');
const portRange = z
  .string()
  .regex(/^\d{1,5}-\d{1,5}$/, 'must be two ports as 10000-30000')
  .transform((text) => text.split('-').map(Number) as [number, number])
  .refine(([first, last]) => first >= 1024 && first <= last && last <= 65535, 'must rise within 1024-65535')
  .transform(([first, last]) => ({ first, last }));

const schema = z.object({
  ADDRESS: z.union([z.ipv4(), z.ipv6()]).default('0.0.0.0'),
  PORT: z.coerce.number().int().min(1).max(65535).default(8192),
  TOKEN: z.string().min(32, 'must have at least 32 characters').optional(),
  TLS_CERT: z.string().optional(),
  TLS_KEY: z.string().optional(),
  TLS_CLIENT_CA: z.string().optional(),
  LIBVIRT_URI: z.string().startsWith('qemu:').default('qemu:///system'),
  NBD_PORTS: portRange.default({ first: 10000, last: 30000 }),
  NBD_ADDRESS: z.union([z.ipv4(), z.ipv6()]).optional(),
  NBD_TLS: z.enum(['off', 'x509']).default('off'),
  NBD_TLS_DIR: folder.default('/etc/pki/qemu'),
  SCRATCH_DIR: folder.default('/var/lib/casvault/disk-service/scratch'),
  SCRATCH_RESERVE_BYTES: z.coerce.number().int().min(0).default(1_073_741_824),
  STATE_DIR: folder.default('/var/lib/casvault/disk-service/state'),
  VOLUME_DIRS: z
    .string()
    .transform((text) => text.split(':'))
    .pipe(z.array(folder).min(1))
    .default(['/vms']),
  MAX_OPENINGS: z.coerce.number().int().min(1).max(1024).default(64),
  LIVE_EXPORT: z.enum(['on', 'off']).default('on'),
  LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});
type Settings = z.infer<typeof schema>;

/** Reads it. Throws ConfigProblems with every problem at once. */
export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const problems: string[] = [];
  const given = variables(env, problems);
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      problems.push(`${prefix}${String(issue.path[0] ?? '')}: ${issue.message}`);
    }
  }
  const settings = parsed.data;
  if (settings) problems.push(...accessProblems(settings));
  const tls = settings ? readTls(settings, problems) : null;
  if (!settings || problems.length > 0) throw new ConfigProblems(problems.join('\n'));
  return {
    address: settings.ADDRESS,
    port: settings.PORT,
    token: settings.TOKEN ?? null,
    tls,
    libvirtUri: settings.LIBVIRT_URI,
    nbdPorts: settings.NBD_PORTS,
    nbdAddress: settings.NBD_ADDRESS ?? null,
    nbdTlsDir: settings.NBD_TLS === 'x509' ? settings.NBD_TLS_DIR : null,
    scratchDir: settings.SCRATCH_DIR,
    scratchReserveBytes: settings.SCRATCH_RESERVE_BYTES,
    stateDir: settings.STATE_DIR,
    volumeDirs: settings.VOLUME_DIRS,
    maxOpenings: settings.MAX_OPENINGS,
    liveExport: settings.LIVE_EXPORT === 'on',
    logLevel: settings.LOG_LEVEL,
    traces: Boolean(env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']),
  };
}

/** Our variables without their prefix; a misspelt one is a problem, not a default. */
function variables(env: NodeJS.ProcessEnv, problems: string[]): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(prefix) || value === undefined || value === '') continue;
    const key = name.slice(prefix.length);
    if (key === 'TOKEN_FILE') given['TOKEN'] ??= readText(name, value, problems)?.trim() ?? '';
    else if (key in schema.shape) given[key] = value;
    else problems.push(`${name}: there is no such setting`);
  }
  return given;
}

function accessProblems(settings: Settings): string[] {
  const problems: string[] = [];
  if ((settings.TLS_CERT === undefined) !== (settings.TLS_KEY === undefined)) {
    problems.push(`${prefix}TLS_CERT and ${prefix}TLS_KEY: one is of no use without the other`);
  }
  if (settings.TLS_CLIENT_CA !== undefined && settings.TLS_CERT === undefined) {
    problems.push(`${prefix}TLS_CLIENT_CA: needs ${prefix}TLS_CERT and ${prefix}TLS_KEY`);
  }
  if (settings.TOKEN === undefined && settings.TLS_CLIENT_CA === undefined) {
    problems.push(
      `${prefix}TOKEN, ${prefix}TOKEN_FILE or ${prefix}TLS_CLIENT_CA: callers must be known by one`,
    );
  }
  return problems;
}

function readTls(settings: Settings, problems: string[]): Config['tls'] {
  const { TLS_CERT, TLS_KEY, TLS_CLIENT_CA } = settings;
  if (TLS_CERT === undefined || TLS_KEY === undefined) return null;
  const cert = readText(`${prefix}TLS_CERT`, TLS_CERT, problems);
  const key = readText(`${prefix}TLS_KEY`, TLS_KEY, problems);
  const ca = TLS_CLIENT_CA === undefined ? null : readText(`${prefix}TLS_CLIENT_CA`, TLS_CLIENT_CA, problems);
  return cert === null || key === null ? null : { cert, key, clientCa: ca };
}

function readText(name: string, path: string, problems: string[]): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    problems.push(`${name}: ${path} can't be read (${(error as NodeJS.ErrnoException).code ?? 'error'})`);
    return null;
  }
}
