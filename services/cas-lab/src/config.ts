import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { releases, type Release } from './platform/release.js';
import { vmPlanSchema, type VmPlan } from './platform/vm-plan.js';

const MiB = 1_048_576;
const diskServiceMain = fileURLToPath(new URL('../../../disk-service/dist/src/main.js', import.meta.url));

/** One machine under load: a system disk, and a data disk beside it. */
const demoVms: VmPlan[] = [
  vmPlanSchema.parse({
    name: 'lab-db-01',
    title: '实验数据库 lab-db-01',
    host: 1,
    disks: [
      { sizeBytes: 1024 * MiB, dataBytes: 200 * MiB },
      { sizeBytes: 1024 * MiB, dataBytes: 160 * MiB },
    ],
    workload: {},
  }),
];

const json = (text: string, context: z.core.$RefinementCtx<string>): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    context.addIssue({ code: 'custom', message: 'must be JSON' });
    return z.NEVER;
  }
};

const environmentSchema = z.object({
  CASVAULT_LAB_DIR: z.string().startsWith('/', 'must be an absolute path'),
  CASVAULT_LAB_HOSTS: z.coerce.number().int().min(1).max(8).default(2),
  /** Third octet of the loopback addresses: 127.0.N.10 is the CVM, 127.0.N.11 the first host. */
  CASVAULT_LAB_NET: z.coerce.number().int().min(0).max(255).default(0),
  CASVAULT_LAB_CVM_ADDRESS: z.ipv4().optional(),
  CASVAULT_LAB_CVM_PORT: z.coerce.number().int().min(1).max(65535).default(8080),
  CASVAULT_LAB_CVM_TLS_PORT: z.coerce.number().int().min(1).max(65535).default(8443),
  CASVAULT_LAB_ADMIN_PORT: z.coerce.number().int().min(1).max(65535).default(8081),
  CASVAULT_LAB_USER: z.string().min(1).default('admin'),
  CASVAULT_LAB_PASSWORD: z.string().min(1).optional(),
  CASVAULT_LAB_RELEASE: z.enum(releases).default('E0780'),
  CASVAULT_LAB_DISK_SERVICE: z.enum(['auto', 'on', 'off']).default('auto'),
  CASVAULT_LAB_DISK_SERVICE_MAIN: z.string().default(diskServiceMain),
  CASVAULT_LAB_DISK_SERVICE_PORT: z.coerce.number().int().min(1).max(65535).default(8192),
  CASVAULT_LAB_DISK_SERVICE_TOKEN: z.string().min(32, 'must have at least 32 characters').optional(),
  CASVAULT_LAB_UID: z.coerce.number().int().min(1).default(65534),
  CASVAULT_LAB_GID: z.coerce.number().int().min(1).default(65534),
  CASVAULT_LAB_GUEST_CACHE: z.string().startsWith('/').default('/var/tmp/cas-lab-guest'),
  /** The machines that a new lab gets; a lab that has been there keeps its own. */
  CASVAULT_LAB_VMS: z.string().transform(json).pipe(z.array(vmPlanSchema)).default(demoVms),
});

export interface LabConfig {
  readonly dir: string;
  readonly hosts: number;
  readonly net: number;
  readonly cvm: { readonly address: string; readonly port: number; readonly tlsPort: number };
  readonly adminPort: number;
  readonly user: string;
  /** Null: made at the first start and kept. */
  readonly password: string | null;
  readonly release: Release;
  readonly diskService: {
    readonly main: string;
    readonly port: number;
    readonly token: string | null;
    /** The lab's own variables of OpenTelemetry: the disk services send traces where it was told to, the lab sends none. */
    readonly env: Readonly<Record<string, string>>;
  } | null;
  /** Who the hosts' daemons run as when the lab is started by root: root's libvirt is always the system's. */
  readonly runAs: { readonly uid: number; readonly gid: number };
  readonly guestCache: string;
  readonly vms: readonly VmPlan[];
}

const telemetryOf = (env: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      name.startsWith('OTEL_') && value !== undefined ? [[name, value]] : [],
    ),
  );

/** The configuration, or every problem of it at once, one a line. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): LabConfig {
  const parsed = environmentSchema.safeParse(env);
  if (!parsed.success) {
    throw new Error(
      parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('\n'),
    );
  }
  const found = parsed.data;
  const main = found.CASVAULT_LAB_DISK_SERVICE_MAIN;
  const wanted = found.CASVAULT_LAB_DISK_SERVICE;
  const withDiskService = wanted === 'on' || (wanted === 'auto' && existsSync(main));
  return {
    dir: found.CASVAULT_LAB_DIR,
    hosts: found.CASVAULT_LAB_HOSTS,
    net: found.CASVAULT_LAB_NET,
    cvm: {
      address: found.CASVAULT_LAB_CVM_ADDRESS ?? `127.0.${String(found.CASVAULT_LAB_NET)}.10`,
      port: found.CASVAULT_LAB_CVM_PORT,
      tlsPort: found.CASVAULT_LAB_CVM_TLS_PORT,
    },
    adminPort: found.CASVAULT_LAB_ADMIN_PORT,
    user: found.CASVAULT_LAB_USER,
    password: found.CASVAULT_LAB_PASSWORD ?? null,
    release: found.CASVAULT_LAB_RELEASE,
    diskService: withDiskService
      ? {
          main,
          port: found.CASVAULT_LAB_DISK_SERVICE_PORT,
          token: found.CASVAULT_LAB_DISK_SERVICE_TOKEN ?? null,
          env: telemetryOf(env),
        }
      : null,
    runAs: { uid: found.CASVAULT_LAB_UID, gid: found.CASVAULT_LAB_GID },
    guestCache: found.CASVAULT_LAB_GUEST_CACHE,
    vms: found.CASVAULT_LAB_VMS,
  };
}

/** The one look at the environment of this process. */
export const readEnvironment = (): NodeJS.ProcessEnv => process.env;
