import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chart, Helm } from './helm.js';
import { loadKubeTypes, typeProblems, type KubeTypes } from './kube-types.js';
import { manifestsOf, titleOf, type Manifest } from './manifest.js';
import { policyProblems, workloads } from './policy.js';
import { judgeConfig } from './service-config.js';
import { readmeWithValues } from './values-readme.js';

const fixtures = new URL('../../fixtures/', import.meta.url).pathname;
/** Every set of values that is promised to work. */
const promised: readonly (readonly [string, readonly string[]])[] = [
  ['trial', [join(chart, 'values-trial.yaml')]],
  ['production', [join(chart, 'values-production.yaml')]],
  ['everything else', [join(chart, 'values-trial.yaml'), join(fixtures, 'values-other.yaml')]],
];

/** A copy with one place changed; undefined takes it away. Keys may hold dots, so the path is a list. */
const changed = (
  manifests: readonly Manifest[],
  title: string,
  path: readonly (string | number)[],
  value: unknown,
) => {
  const copy = structuredClone(manifests) as Manifest[];
  let here = copy.find((one) => titleOf(one) === title) as unknown as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) here = here[key] as Record<string | number, unknown>;
  here[path.at(-1) ?? ''] = value;
  return copy;
};

describe('the chart', () => {
  let helm: Helm;
  let types: KubeTypes;
  const rendered = new Map<string, Manifest[]>();
  const of = (name: string): Manifest[] => rendered.get(name) ?? [];

  beforeAll(async () => {
    helm = await Helm.find();
    types = await loadKubeTypes();
    for (const [name, values] of promised)
      rendered.set(name, manifestsOf(await helm.template(chart, values)));
  });

  describe.each(promised)('with values for %s', (name, values) => {
    it('passes helm lint without a warning', () => helm.lint(chart, values));

    it('renders only what the Kubernetes API knows', () => {
      expect(of(name).length).toBeGreaterThan(20);
      expect(of(name).flatMap((manifest) => typeProblems(manifest, types))).toEqual([]);
    });

    it('passes the policy', () => expect(policyProblems(of(name))).toEqual([]));

    it('names every object once', () => {
      const titles = of(name).map(titleOf);
      expect(new Set(titles).size).toBe(titles.length);
    });
  });

  it('has every service that a cluster runs', () => {
    const names = workloads(of('production')).map(titleOf);
    expect(names.sort()).toEqual([
      'CronJob casvault-dump',
      'Deployment casvault-data-mover-archive',
      'Deployment casvault-data-mover-controller',
      'Deployment casvault-data-mover-default',
      'Deployment casvault-gateway',
      'Deployment casvault-inventory',
      'Deployment casvault-licensing-auth',
      'Deployment casvault-scheduler',
      'Deployment casvault-snapshot-engine',
    ]);
  });

  it('configures every service as the service itself reads it, with all values', async () => {
    const { problems, unset } = await judgeConfig([...rendered.values()].flat());
    expect(problems).toEqual([]);
    // The first password goes to the log; a mover's id follows from its group and name; a pod keeps no files, so its
    // transfers are told in its log alone. All else can be set.
    expect(unset).toEqual([
      'CASVAULT_BOOTSTRAP_PASSWORD',
      'CASVAULT_DATA_MOVER_ID',
      'CASVAULT_DATA_MOVER_TRANSFER_LOGS',
      'CASVAULT_DATA_MOVER_TRANSFER_LOGS_DAYS',
      'CASVAULT_DATA_MOVER_TRANSFER_LOGS_KEEP',
    ]);
  });

  it('puts no secret of a production release into an object', () => {
    const holders = of('production').filter(({ kind }) => kind === 'Secret' || kind === 'ConfigMap');
    expect(holders.map(titleOf)).toEqual(['ConfigMap casvault-dump']);
  });

  it('has a README with the values as they are', async () => {
    const readme = await readFile(join(chart, 'README.md'), 'utf8');
    const values = await readFile(join(chart, 'values.yaml'), 'utf8');
    expect(readmeWithValues(readme, values)).toBe(readme);
    expect(() => readmeWithValues(readme, `${values}\nnew: 1\n`)).toThrow('new: has no comment');
    expect(readmeWithValues(readme, values.replace('logLevel: info', 'logLevel: warn'))).not.toBe(readme);
  });

  const autoscaling = 'dataMovers.groups.default.autoscaling';
  it.each([
    ['unknown=1', "additional properties 'unknown' not allowed"],
    ['gateway.replica=1', "additional properties 'replica' not allowed"],
    ['image.tag=latest', 'image/tag'],
    ['drainSeconds=0', 'minimum'],
    ['scheduler.historyRuns=0', 'scheduler/historyRuns'],
    ['networkPolicy.alertPorts[0]=0', 'networkPolicy/alertPorts'],
    ['networkPolicy.hookPorts[0]=70000', 'networkPolicy/hookPorts'],
    ['dataMovers.defaults.scriptsConfigMap=/etc', 'scriptsConfigMap'],
    ['nats.url=nats://user:secret@host:4222', 'nats/url'],
    ['dataMovers.groups.controller.replicas=1', "propertyName 'controller'"],
    ['pools[0].name=a,pools[0].mountPath=/,pools[0].volume.hostPath.path=/a', 'mountPath'],
    ['trial.enabled=false', 'is not set'],
    ['dataMovers.groups.default.pools[0]=nowhere', 'nowhere is not one of pools'],
    ['ingress.enabled=true', 'ingress.host: is not set'],
    ['controlPlaneBackup.enabled=true', 'controlPlaneBackup.existingClaim: is not set'],
    [
      'controlPlaneBackup.enabled=true,controlPlaneBackup.existingClaim=a',
      'controlPlaneBackup.existingSecret: is not set',
    ],
    ['controlPlaneBackup.image=docker.io/library/postgres:latest', 'controlPlaneBackup/image'],
    ['controlPlaneBackup.image=docker.io/library/postgres', 'controlPlaneBackup/image'],
    ['controlPlaneBackup.schedule=nightly', 'controlPlaneBackup/schedule'],
    ['controlPlaneBackup.keep=0', 'controlPlaneBackup/keep'],
    ['dataMovers.defaults.autoscaling.builtin.maxReplicas=0', 'builtin/maxReplicas'],
    [`${autoscaling}.builtin.enabled=true,${autoscaling}.keda.enabled=true`, 'autoscaling'],
    [`${autoscaling}.builtin.enabled=true,dataMovers.defaults.autoscaling.keda.enabled=true`, 'both enabled'],
    [
      `${autoscaling}.builtin.enabled=true,${autoscaling}.builtin.minReplicas=11`,
      'is larger than maxReplicas',
    ],
  ])('refuses %s', async (set, message) => {
    const rendering = helm.template(chart, [join(chart, 'values-trial.yaml')], [set]);
    await expect(rendering).rejects.toThrow(message);
  });

  const gateway = 'Deployment casvault-gateway';
  const mover = 'Deployment casvault-data-mover-default';
  const pod = ['spec', 'template', 'spec'];
  const container = [...pod, 'containers', 0];

  it.each([
    [['spec', 'replica'], 1, '.spec.replica: unknown field of V1DeploymentSpec'],
    [['spec', 'replicas'], '2', '.spec.replicas: string, want number'],
    [[...container, 'args'], 'gateway', 'args: string, want a list'],
    [[...container, 'env'], null, 'env: is null'],
    [[...container, 'ports', 0, 'containerPort'], '9090', 'containerPort: string, want number'],
    [['metadata', 'labels', 'x'], 1, '.metadata.labels.x: number, want string'],
    [[...pod, 'securityContext'], [], 'securityContext: list, want V1PodSecurityContext'],
    [['kind'], 'Deployments', 'has no such kind'],
  ])('the types refuse %j = %j', (path, value, problem) => {
    const objects = changed(of('production'), gateway, path, value);
    const problems = objects.flatMap((manifest) => typeProblems(manifest, types));
    expect(problems).toEqual([expect.stringContaining(problem)]);
  });

  it.each([
    [gateway, [...pod, 'hostNetwork'], true, 'shares a namespace of its host'],
    [gateway, [...pod, 'securityContext', 'runAsNonRoot'], false, 'pod may run as root'],
    [gateway, [...pod, 'securityContext', 'runAsUser'], 0, 'pod runs as user 0'],
    [gateway, [...pod, 'securityContext', 'seccompProfile'], undefined, 'seccomp profile'],
    [gateway, [...pod, 'automountServiceAccountToken'], undefined, 'mounts the token'],
    [gateway, [...pod, 'initContainers'], [{ name: 'x' }], 'has init containers'],
    [gateway, [...pod, 'volumes', 1], { name: 'tmp', hostPath: { path: '/' } }, 'a path of its host'],
    [gateway, ['spec', 'selector', 'matchLabels', 'a'], 'b', 'selector does not match'],
    [gateway, [...pod, 'topologySpreadConstraints'], undefined, 'not spread'],
    [gateway, [...pod, 'terminationGracePeriodSeconds'], 64, 'killed before it has drained'],
    [gateway, [...container, 'image'], 'casvault:latest', 'no fixed version'],
    [gateway, [...container, 'image'], 'registry:5000/casvault', 'no fixed version'],
    [gateway, [...container, 'resources', 'limits', 'memory'], undefined, 'limits are not set'],
    [gateway, [...container, 'resources', 'requests'], undefined, 'requests are not set'],
    [gateway, [...container, 'livenessProbe'], undefined, 'probes are not set'],
    [gateway, [...container, 'readinessProbe', 'httpGet', 'port'], 'api2', 'a port that is not there'],
    [gateway, [...container, 'securityContext', 'privileged'], true, 'is privileged'],
    [gateway, [...container, 'securityContext', 'allowPrivilegeEscalation'], undefined, 'gain privileges'],
    [gateway, [...container, 'securityContext', 'readOnlyRootFilesystem'], false, 'is writable'],
    [gateway, [...container, 'securityContext', 'capabilities', 'add'], ['NET_ADMIN'], 'keeps capabilities'],
    [gateway, [...container, 'volumeMounts', 0, 'name'], 'nothing', 'a volume that is not there'],
    [gateway, [...container, 'env', 0, 'value'], 'nats://u:p@h:1', 'a secret is in the environment'],
    [gateway, [...pod, 'serviceAccountName'], 'default', 'an account that is not made here'],
    ['ServiceAccount casvault-gateway', ['automountServiceAccountToken'], true, 'hands out tokens'],
    ['NetworkPolicy casvault-gateway', ['spec', 'policyTypes'], ['Ingress'], 'no network policy'],
    ['PodDisruptionBudget casvault-gateway', ['kind'], 'Nothing', 'not exactly one disruption budget'],
    ['Service casvault-gateway', ['spec', 'selector'], {}, 'selects the pods of no workload'],
    ['Service casvault-gateway', ['spec', 'ports', 0, 'targetPort'], 'apis', 'leads to a port'],
    ['ServiceAccount casvault-gateway', ['kind'], 'ClusterRole', 'more than its namespace'],
    ['ScaledObject casvault-data-mover-default', ['spec', 'scaleTargetRef', 'name'], 'x', 'is not there'],
    ['ScaledObject casvault-data-mover-default', ['spec', 'minReplicaCount'], 99, 'bounds are crossed'],
    [mover, ['spec', 'replicas'], 1, 'a fixed number of pods'],
  ])('the policy refuses %s %j = %j', (title, path, value, problem) => {
    const problems = policyProblems(changed(of('production'), title, path, value));
    expect(problems).toContainEqual(expect.stringContaining(problem));
  });

  const dump = 'CronJob casvault-dump';
  const job = ['spec', 'jobTemplate', 'spec'];
  const dumpPod = [...job, 'template', 'spec'];
  it.each([
    [dump, ['metadata', 'name'], 'n'.repeat(53), 'its name is too long'],
    [dump, ['spec', 'concurrencyPolicy'], 'Allow', 'beside itself'],
    [dump, ['spec', 'timeZone'], undefined, 'has no time zone'],
    [dump, ['spec', 'startingDeadlineSeconds'], undefined, 'how late it begins'],
    [dump, ['spec', 'failedJobsHistoryLimit'], 100, 'every job that failed'],
    [dump, ['spec', 'successfulJobsHistoryLimit'], undefined, 'every job that it made'],
    [dump, [...job, 'activeDeadlineSeconds'], undefined, 'run for ever'],
    [dump, [...job, 'backoffLimit'], 6, 'again too often'],
    [dump, [...dumpPod, 'restartPolicy'], 'OnFailure', 'begun again in place'],
    [dump, [...dumpPod, 'securityContext', 'runAsNonRoot'], undefined, 'pod may run as root'],
    [dump, [...dumpPod, 'automountServiceAccountToken'], true, 'mounts the token'],
    [dump, [...dumpPod, 'containers', 0, 'image'], 'postgres:latest', 'no fixed version'],
    [dump, [...dumpPod, 'containers', 0, 'resources', 'limits'], undefined, 'limits are not set'],
    [dump, [...dumpPod, 'containers', 0, 'volumeMounts', 0, 'name'], 'x', 'a volume that is not there'],
    ['NetworkPolicy casvault-dump', ['kind'], 'Nothing', 'no network policy'],
    ['ServiceAccount casvault-dump', ['kind'], 'Nothing', 'an account that is not made here'],
  ])('the policy refuses %s %j = %j of the dumps', (title, path, value, problem) => {
    const problems = policyProblems(changed(of('production'), title, path, value));
    expect(problems).toContainEqual(expect.stringContaining(problem));
  });

  it('dumps by the script of files/, to Postgres and nowhere else', async () => {
    const script = await readFile(join(chart, 'files/dump-control-plane.sh'), 'utf8');
    const map = of('production').find((one) => titleOf(one) === 'ConfigMap casvault-dump');
    expect(map?.['data']).toEqual({ 'dump-control-plane.sh': script });
    const fence = of('production').find((one) => titleOf(one) === 'NetworkPolicy casvault-dump');
    expect(fence?.['spec']).toMatchObject({
      ingress: [],
      egress: [
        { ports: [{ port: 53 }, { port: 53 }] },
        { ports: [{ port: 5432, protocol: 'TCP' }], to: [{ ipBlock: { cidr: '10.40.0.0/24' } }] },
      ],
    });
    expect(of('trial').filter((one) => titleOf(one).endsWith('-dump'))).toEqual([]);
  });

  const scaled = 'Deployment vault-data-mover-second';
  it.each([
    ['Role vault-scaler', ['rules', 1, 'verbs', 1], 'delete', 'more than the scaler needs'],
    ['Role vault-scaler', ['rules', 1, 'resources', 0], '*', 'more than the scaler needs'],
    ['Role vault-scaler', ['rules', 0, 'resourceNames'], undefined, 'or everything'],
    ['Role vault-scaler', ['rules', 0, 'resourceNames', 0], 'x', 'is not there'],
    [scaled, ['spec', 'replicas'], 1, 'a fixed number of pods'],
  ])('the policy refuses %s %j = %j of the built-in scaler', (title, path, value, problem) => {
    const problems = policyProblems(changed(of('everything else'), title, path, value));
    expect(problems).toContainEqual(expect.stringContaining(problem));
  });

  it('gives the built-in scaler its token and its way to the API, and nobody without one', () => {
    const mounts = (name: string) => JSON.stringify(of(name)).split('serviceAccountToken').length - 1;
    expect([mounts('production'), mounts('everything else')]).toEqual([0, 1]);
    const roles = (name: string) => of(name).filter(({ kind }) => kind.startsWith('Role'));
    expect([roles('production').length, roles('everything else').length]).toEqual([0, 2]);
  });

  it('gives all but the workers of the data-mover a small young generation and a heap by their memory limit', () => {
    const options = of('production')
      .filter(({ kind }) => kind === 'Deployment')
      .map((one) => [titleOf(one), /--max-[^"]*/.exec(JSON.stringify(one))?.[0] ?? null] as const);
    expect(options.length).toBeGreaterThan(6);
    for (const [title, given] of options) {
      const isWorker = /data-mover-(?!controller)/.test(title);
      expect([title, given]).toEqual([
        title,
        isWorker ? null : '--max-semi-space-size=4 --max-old-space-size=153',
      ]);
    }
  });

  it.each([
    ['1Gi', 307],
    ['0.5Gi', 153],
    ['600M', 171],
    ['536870912', 153],
  ])('a memory limit of %s gives a heap of %i MiB', async (limit, heap) => {
    const objects = manifestsOf(
      await helm.template(
        chart,
        [join(chart, 'values-trial.yaml')],
        [`inventory.resources.limits.memory=${limit}`],
      ),
    );
    const inventory = objects.find((one) => titleOf(one) === 'Deployment casvault-inventory');
    expect(JSON.stringify(inventory)).toContain(`--max-old-space-size=${heap}"`);
  });

  it('the services refuse what they do not know or understand, and files that nothing brings', async () => {
    const env = (index: number) => [...container, 'env', index];
    let objects = changed(of('production'), gateway, env(2), { name: 'CASVAULT_LOG_LEVELS', value: 'info' });
    objects = changed(objects, mover, env(2), { name: 'CASVAULT_LOG_LEVEL', value: 'loud' });
    objects = changed(
      objects,
      'Deployment casvault-scheduler',
      [...pod, 'volumes', 0, 'projected', 'sources'],
      [],
    );
    const { problems, unset } = await judgeConfig(objects);
    expect(unset).toContain('CASVAULT_GATEWAY_TLS_CERT');
    expect(problems).toContain(`${gateway}: CASVAULT_LOG_LEVELS is not known to the service`);
    expect(problems).toContainEqual(expect.stringContaining(`${mover}: CASVAULT_LOG_LEVEL:`));
    expect(problems).toContainEqual(
      expect.stringContaining('no volume brings /run/secrets/casvault/database-url'),
    );
  });
});
