/** A cluster of one node, on this machine, into whose node an image can be put without a registry. */
export type Cluster =
  | { readonly kind: 'kind'; readonly context: string; readonly name: string }
  | { readonly kind: 'k3s'; readonly context: string };

/** What is there to run the demo with; null: it is not. */
export interface Means {
  /** The context that kubectl is set to. */
  readonly context: string | null;
  readonly isReachable: boolean;
  /** Of those that were looked for. */
  readonly programs: readonly string[];
}

export interface Step {
  readonly says: string;
  readonly command: readonly string[];
}

export interface DemoPlan {
  /** Why the steps can't be run here; empty: they can. */
  readonly lacks: readonly string[];
  readonly steps: readonly Step[];
  /** How the gateway is reached from here. */
  readonly forward: readonly string[];
  /** Where the first password is told. */
  readonly passwordLog: readonly string[];
}

export const sought = ['kubectl', 'helm', 'docker', 'podman', 'kind', 'k3s'] as const;
const release = 'casvault';
const namespace = 'casvault-demo';
const repository = 'docker.io/library/casvault';
/** Of values-trial.yaml, and of the user in the image. */
const pool = '/var/lib/casvault-trial-pool';
const ownPool = `mkdir -p ${pool} && chown 10001:10001 ${pool}`;

/** By the names that kind and k3s give their contexts; null: of another maker, whose nodes pull from registries alone. */
export const clusterOf = (context: string, programs: readonly string[]): Cluster | null => {
  if (context.startsWith('kind-')) return { kind: 'kind', context, name: context.slice('kind-'.length) };
  return programs.includes('k3s') ? { kind: 'k3s', context } : null;
};

const lacksOf = ({ context, isReachable, programs }: Means, cluster: Cluster | null): string[] => {
  if (!programs.includes('kubectl')) return ['there is no kubectl'];
  if (context === null) return ['kubectl has no context'];
  const rules: readonly (readonly [string, boolean])[] = [
    [`the cluster of context ${context} does not answer`, isReachable],
    [
      `context ${context} is neither of kind nor of k3s: push the image to its registry and install by hand`,
      cluster !== null,
    ],
    ['there is no image engine (docker, podman)', programs.includes('docker') || programs.includes('podman')],
    ['kind loads images from docker', cluster?.kind !== 'kind' || programs.includes('docker')],
    ['there is no kind', cluster?.kind !== 'kind' || programs.includes('kind')],
  ];
  return rules.filter(([, holds]) => !holds).map(([lack]) => lack);
};

const loading = (cluster: Cluster, engine: string, image: string): Step[] =>
  cluster.kind === 'kind'
    ? [
        {
          says: 'load the image into the node',
          command: ['kind', 'load', 'docker-image', image, '--name', cluster.name],
        },
        {
          says: 'make the folder of the trial pool on the node',
          command: [engine, 'exec', `${cluster.name}-control-plane`, 'sh', '-c', ownPool],
        },
      ]
    : [
        {
          says: 'load the image into the node',
          command: ['sh', '-c', `${engine} save ${image} | k3s ctr images import -`],
        },
        { says: 'make the folder of the trial pool on the node', command: ['sh', '-c', ownPool] },
      ];

/**
 * What `make demo-k8s` does with these means, at this version of the chart; without a cluster: as for a kind cluster named `casvault`. With the
 * machine's own helm, else with `ownHelm`.
 */
export const demoPlan = (means: Means, ownHelm: string, appVersion: string): DemoPlan => {
  const present = means.context === null ? null : clusterOf(means.context, means.programs);
  const cluster = present ?? { kind: 'kind', context: 'kind-casvault', name: 'casvault' };
  const engine =
    !means.programs.includes('docker') && means.programs.includes('podman') ? 'podman' : 'docker';
  const helm = means.programs.includes('helm') ? 'helm' : ownHelm;
  const image = `${repository}:${appVersion}`;
  const kubectl = ['kubectl', '--context', cluster.context, '--namespace', namespace];
  const installing = [
    '--namespace',
    namespace,
    '--create-namespace',
    '--values',
    'helm/casvault/values-trial.yaml',
  ];
  return {
    lacks: lacksOf(means, present),
    steps: [
      {
        says: 'build the image',
        command: [engine, 'build', '--file', 'docker/Dockerfile', '--tag', image, '.'],
      },
      ...loading(cluster, engine, image),
      {
        says: 'install the chart with the values for a trial',
        command: [
          ...[helm, 'upgrade', '--install', release, 'helm/casvault', '--kube-context', cluster.context],
          ...installing,
          ...['--set', `image.repository=${repository}`],
        ],
      },
      {
        says: 'wait until every service is ready',
        command: [...kubectl, 'wait', '--for=condition=Available', 'deployment', '--all', '--timeout=600s'],
      },
    ],
    forward: [...kubectl, 'port-forward', `service/${release}-gateway`, ':80'],
    passwordLog: [
      ...[...kubectl, 'logs', '--tail=-1', '--selector'],
      `app.kubernetes.io/instance=${release},app.kubernetes.io/component=licensing-auth`,
    ],
  };
};

/** As a shell takes it. */
export const shellLine = (command: readonly string[]): string =>
  command
    .map((word) => (/^[A-Za-z0-9_./:=,@-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ');
