import {
  at,
  branch,
  branches,
  list,
  text,
  titleOf,
  type Branch,
  type Manifest,
  type Tree,
} from './manifest.js';

/** Kinds with pods, and where their template is. */
const workloadKinds = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'Job', 'CronJob']);
/** Kinds whose pods live on: they have probes, and a selector of their own making. */
const servingKinds = new Set(['Deployment', 'StatefulSet', 'DaemonSet']);

export const workloads = (manifests: readonly Manifest[]): Manifest[] =>
  manifests.filter(({ kind }) => workloadKinds.has(kind));
const templateOf = (workload: Manifest): Tree | undefined =>
  workload.kind === 'CronJob'
    ? at(workload, 'spec', 'jobTemplate', 'spec', 'template')
    : at(workload, 'spec', 'template');
export const podOf = (workload: Manifest): Branch => branch(at(templateOf(workload), 'spec'));
export const containersOf = (workload: Manifest): Branch[] => branches(podOf(workload)['containers']);

/**
 * What this house asks of objects beyond what the Kubernetes API does: nothing privileged, every pod bounded, watched and
 * fenced, nothing that points at what is not there. One problem a line, with the object's name; empty: all is well.
 */
export const policyProblems = (manifests: readonly Manifest[]): string[] => [
  ...workloads(manifests).flatMap((workload) =>
    [
      ...podProblems(workload),
      ...containersOf(workload).flatMap((container) => containerProblems(workload, container)),
      ...fenceProblems(workload, manifests),
      ...accountProblems(workload, manifests),
    ].map((problem) => `${titleOf(workload)}: ${problem}`),
  ),
  ...manifests.flatMap((manifest) =>
    objectProblems(manifest, manifests).map((problem) => `${titleOf(manifest)}: ${problem}`),
  ),
];

type Rule = readonly [problem: string, holds: boolean];
const broken = (rules: readonly Rule[]): string[] =>
  rules.filter(([, holds]) => !holds).map(([problem]) => problem);

const podProblems = (workload: Manifest): string[] => {
  const pod = podOf(workload);
  const volumes = branches(pod['volumes']);
  return broken([
    ['shares a namespace of its host', !pod['hostNetwork'] && !pod['hostPID'] && !pod['hostIPC']],
    ['pod may run as root', at(pod, 'securityContext', 'runAsNonRoot') === true],
    ['pod runs as user 0', isPositive(at(pod, 'securityContext', 'runAsUser'))],
    [
      'seccomp profile is not RuntimeDefault',
      at(pod, 'securityContext', 'seccompProfile', 'type') === 'RuntimeDefault',
    ],
    ['mounts the token of its account', pod['automountServiceAccountToken'] === false],
    ['has init containers: unknown to this policy', branches(pod['initContainers']).length === 0],
    [
      'mounts a path of its host that is no pool',
      volumes.every((volume) => volume['hostPath'] === undefined || text(volume['name']).startsWith('pool-')),
    ],
    [
      'selector does not match its pods',
      !servingKinds.has(workload.kind) ||
        isWithin(at(workload, 'spec', 'selector', 'matchLabels'), labelsOf(workload)),
    ],
    [
      'pods are not spread',
      workload.kind !== 'Deployment' || branches(pod['topologySpreadConstraints']).length > 0,
    ],
    ['is killed before it has drained', gracePeriodSuffices(workload)],
  ]);
};

const containerProblems = (workload: Manifest, container: Branch): string[] => {
  const security = container['securityContext'];
  const isServing = servingKinds.has(workload.kind);
  const volumes = new Set(branches(podOf(workload)['volumes']).map(({ name }) => name));
  for (const claim of branches(at(workload, 'spec', 'volumeClaimTemplates')))
    volumes.add(text(at(claim, 'metadata', 'name')));
  const ports = new Set(branches(container['ports']).map(({ name }) => name));
  const probes = ['startupProbe', 'livenessProbe', 'readinessProbe'].map((probe) => container[probe]);
  return broken([
    ['image has no fixed version', isFixed(text(container['image']))],
    ['limits are not set', hasAmounts(at(container, 'resources', 'limits'))],
    ['requests are not set', hasAmounts(at(container, 'resources', 'requests'))],
    ['probes are not set', !isServing || probes.every((probe) => probe !== undefined)],
    ['a probe asks a port that is not there', probes.every((probe) => asksKnownPort(probe, ports))],
    ['is privileged', at(security, 'privileged') !== true],
    ['may gain privileges', at(security, 'allowPrivilegeEscalation') === false],
    ['root file system is writable', at(security, 'readOnlyRootFilesystem') === true],
    ['keeps capabilities', JSON.stringify(at(security, 'capabilities')) === '{"drop":["ALL"]}'],
    [
      'mounts a volume that is not there',
      branches(container['volumeMounts']).every(({ name }) => volumes.has(name)),
    ],
    [
      'a secret is in the environment in clear',
      branches(container['env']).every(({ value }) => !/:\/\/[^/\s]*:[^/\s]*@/.test(text(value))),
    ],
  ]).map((problem) => `${text(container['name'])}: ${problem}`);
};

const isFixed = (image: string): boolean =>
  /@sha256:[0-9a-f]{64}$/.test(image) || (/:[^:/]+$/.test(image) && !image.endsWith(':latest'));
const hasAmounts = (amounts: Tree | undefined): boolean =>
  at(amounts, 'cpu') !== undefined && at(amounts, 'memory') !== undefined;
const isPositive = (value: Tree | undefined): boolean => typeof value === 'number' && value > 0;
const asksKnownPort = (probe: Tree | undefined, ports: ReadonlySet<Tree | undefined>): boolean => {
  const port = at(probe, 'httpGet', 'port');
  return port === undefined || ports.has(port);
};

/** The kubelet's patience begins with the preStop hook. */
const gracePeriodSuffices = (workload: Manifest): boolean => {
  const grace = Number(podOf(workload)['terminationGracePeriodSeconds'] ?? 30);
  return containersOf(workload).every((container) => {
    const drain = branches(container['env']).find(({ name }) => name === 'CASVAULT_DRAIN_SECONDS');
    const sleep = Number(at(container, 'lifecycle', 'preStop', 'sleep', 'seconds') ?? 0);
    return grace > Number(text(drain?.['value'])) + sleep;
  });
};

const labelsOf = (workload: Manifest): Tree | undefined => at(templateOf(workload), 'metadata', 'labels');
/** Every label of the selector is one of the labels; a selector without any selects nothing here. */
const isWithin = (selector: Tree | undefined, labels: Tree | undefined): boolean => {
  const wanted = Object.entries(branch(selector));
  return wanted.length > 0 && wanted.every(([key, value]) => at(labels, key) === value);
};

/** Who guards a workload from outside: policies of the network, budgets of disruption. */
const fenceProblems = (workload: Manifest, manifests: readonly Manifest[]): string[] => {
  const labels = labelsOf(workload);
  const fences = manifests.filter(
    (one) => one.kind === 'NetworkPolicy' && isWithin(at(one, 'spec', 'podSelector', 'matchLabels'), labels),
  );
  const budgets = manifests.filter(
    (one) =>
      one.kind === 'PodDisruptionBudget' && isWithin(at(one, 'spec', 'selector', 'matchLabels'), labels),
  );
  return broken([
    ['no network policy of both directions', fences.some((fence) => both(at(fence, 'spec', 'policyTypes')))],
    ['not exactly one disruption budget', workload.kind !== 'Deployment' || budgets.length === 1],
  ]);
};
const both = (types: Tree | undefined): boolean => JSON.stringify(types) === '["Ingress","Egress"]';

const accountProblems = (workload: Manifest, manifests: readonly Manifest[]): string[] => {
  const name = podOf(workload)['serviceAccountName'];
  const account = manifests.find(
    (one) => one.kind === 'ServiceAccount' && at(one, 'metadata', 'name') === name,
  );
  return broken([
    ['runs as an account that is not made here', account !== undefined],
    ['its account hands out tokens', account?.['automountServiceAccountToken'] === false],
  ]);
};

const objectProblems = (manifest: Manifest, manifests: readonly Manifest[]): string[] => {
  if (/^ClusterRole(Binding)?$/.test(manifest.kind)) return ['nothing here needs more than its namespace'];
  if (manifest.kind === 'Role') return roleProblems(manifest, manifests);
  if (manifest.kind === 'Service') return serviceProblems(manifest, manifests);
  if (manifest.kind === 'ScaledObject') return scalerProblems(manifest, manifests);
  if (manifest.kind === 'CronJob') return cronJobProblems(manifest);
  return [];
};

const serviceProblems = (service: Manifest, manifests: readonly Manifest[]): string[] => {
  const targets = workloads(manifests).filter((one) =>
    isWithin(at(service, 'spec', 'selector'), labelsOf(one)),
  );
  const ports = targets.flatMap(containersOf).flatMap((container) => branches(container['ports']));
  const names = new Set(ports.map(({ name }) => name));
  return broken([
    ['selects the pods of no workload', targets.length > 0],
    [
      'leads to a port that is not there',
      branches(at(service, 'spec', 'ports')).every(({ targetPort }) => names.has(targetPort)),
    ],
  ]);
};

/** What a role may grant: the built-in scaler's needs, as `verbs of resource`. */
const grantable: Readonly<Record<string, readonly string[]>> = {
  'deployments/scale': ['get', 'patch'],
  pods: ['list', 'patch'],
  leases: ['get', 'update', 'create'],
};

const roleProblems = (role: Manifest, manifests: readonly Manifest[]): string[] => {
  const rules = branches(role['rules']);
  const scaled = rules
    .filter(({ resources }) => list(resources).includes('deployments/scale'))
    .map(({ resourceNames }) => list(resourceNames));
  const targets = manifests.filter(
    (one) => one.kind === 'Deployment' && scaled.flat().includes(at(one, 'metadata', 'name') ?? null),
  );
  return broken([
    [
      'grants more than the scaler needs',
      rules.every(({ resources, verbs }) =>
        list(resources).every((resource) =>
          list(verbs).every((verb) => grantable[text(resource)]?.includes(text(verb))),
        ),
      ),
    ],
    [
      'scales what is not there, or everything',
      targets.length > 0 && targets.length === scaled.flat().length,
    ],
    [
      'its target has a fixed number of pods',
      targets.every((one) => at(one, 'spec', 'replicas') === undefined),
    ],
  ]);
};

const scalerProblems = (scaler: Manifest, manifests: readonly Manifest[]): string[] => {
  const name = at(scaler, 'spec', 'scaleTargetRef', 'name');
  const target = manifests.find((one) => one.kind === 'Deployment' && at(one, 'metadata', 'name') === name);
  return broken([
    ['scales what is not there', target !== undefined],
    ['its target has a fixed number of pods', at(target, 'spec', 'replicas') === undefined],
    [
      'its bounds are crossed',
      Number(at(scaler, 'spec', 'minReplicaCount')) <= Number(at(scaler, 'spec', 'maxReplicaCount')),
    ],
  ]);
};

/** The API takes no longer name: eleven characters more have to go into those of its jobs. */
const cronJobNameLength = 52;

const cronJobProblems = (cronJob: Manifest): string[] => {
  const spec = cronJob['spec'];
  const job = at(spec, 'jobTemplate', 'spec');
  return broken([
    ['its name is too long', text(at(cronJob, 'metadata', 'name')).length <= cronJobNameLength],
    ['may run beside itself', at(spec, 'concurrencyPolicy') === 'Forbid'],
    ['has no time zone: its schedule is in that of the controllers', text(at(spec, 'timeZone')) !== ''],
    ['has no bound of how late it begins', isPositive(at(spec, 'startingDeadlineSeconds'))],
    ['may run for ever', isPositive(at(job, 'activeDeadlineSeconds'))],
    ['tries again too often', isCount(at(job, 'backoffLimit'), 3)],
    ['keeps every job that it made', isCount(at(spec, 'successfulJobsHistoryLimit'), 10)],
    ['keeps every job that failed', isCount(at(spec, 'failedJobsHistoryLimit'), 10)],
    ['its pods are begun again in place', podOf(cronJob)['restartPolicy'] === 'Never'],
  ]);
};
const isCount = (value: Tree | undefined, most: number): boolean =>
  typeof value === 'number' && value >= 0 && value <= most;
