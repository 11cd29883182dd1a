/**
 * A namespace as the API server and the Deployment and ReplicaSet controllers keep it: objects with versions, and which pod goes
 * when the number falls. Nothing happens by itself: whoever drives it says when the controllers look.
 */
export interface ModelMeta {
  name: string;
  namespace: string;
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
  deletionTimestamp?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}
export interface ModelPod {
  apiVersion: 'v1';
  kind: 'Pod';
  metadata: ModelMeta;
  spec: { containers: { name: string; image: string }[]; nodeName?: string };
  status: { phase: string; conditions: { type: string; status: string; lastTransitionTime: string }[] };
}
export interface ModelLease {
  apiVersion: 'coordination.k8s.io/v1';
  kind: 'Lease';
  metadata: ModelMeta;
  spec: Record<string, unknown>;
}
export interface ModelDeployment {
  name: string;
  replicas: number;
  resourceVersion: string;
  template: string;
}

/** A refusal with the status and reason of the API server. */
export class ModelRefusal extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

export const costAnnotation = 'controller.kubernetes.io/pod-deletion-cost';
const groupLabel = 'casvault.io/mover-group';

export const isReady = ({ status }: ModelPod): boolean =>
  status.conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True');

const isActive = ({ metadata, status }: ModelPod): boolean =>
  metadata.deletionTimestamp === undefined && status.phase !== 'Succeeded' && status.phase !== 'Failed';

const phaseRank: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 };
const readySince = ({ status }: ModelPod): string =>
  status.conditions.find(({ type }) => type === 'Ready')?.lastTransitionTime ?? '';

/** The order in which a ReplicaSet gives pods up (`ActivePodsWithRanks`), but for pods on one node and restarts. */
const byRemoval = (a: ModelPod, b: ModelPod): number => {
  const cost = (pod: ModelPod) => Number(pod.metadata.annotations[costAnnotation] ?? 0);
  return (
    Number(a.spec.nodeName !== undefined) - Number(b.spec.nodeName !== undefined) ||
    (phaseRank[a.status.phase] ?? 0) - (phaseRank[b.status.phase] ?? 0) ||
    Number(isReady(a)) - Number(isReady(b)) ||
    cost(a) - cost(b) ||
    readySince(b).localeCompare(readySince(a)) ||
    b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp)
  );
};

export class ModelCluster {
  readonly pods = new Map<string, ModelPod>();
  readonly leases = new Map<string, ModelLease>();
  readonly deployments = new Map<string, ModelDeployment>();
  readonly namespace = 'backup';
  #version = 100;
  #names = 0;

  constructor(
    private readonly now: () => Date,
    private readonly on: { readonly changed?: () => void; readonly removed?: (pod: ModelPod) => void } = {},
  ) {}

  addDeployment(name: string, replicas = 0): ModelDeployment {
    const deployment = { name, replicas, resourceVersion: this.#next(), template: '7c9f' };
    this.deployments.set(name, deployment);
    return deployment;
  }

  deployment(name: string): ModelDeployment {
    const found = this.deployments.get(name);
    if (!found) throw new ModelRefusal(404, 'NotFound', `deployments.apps "${name}" not found`);
    return found;
  }
  pod(name: string): ModelPod {
    const found = this.pods.get(name);
    if (!found) throw new ModelRefusal(404, 'NotFound', `pods "${name}" not found`);
    return found;
  }
  lease(name: string): ModelLease {
    const found = this.leases.get(name);
    if (!found) throw new ModelRefusal(404, 'NotFound', `leases.coordination.k8s.io "${name}" not found`);
    return found;
  }
  podsOf(deployment: string): ModelPod[] {
    return [...this.pods.values()].filter(({ metadata }) => metadata.labels[groupLabel] === deployment);
  }
  selectorOf(deployment: string): string {
    return `${groupLabel}=${deployment}`;
  }

  scale(name: string, replicas: number, resourceVersion?: string): ModelDeployment {
    const deployment = this.deployment(name);
    this.#demand('deployments.apps', name, deployment.resourceVersion, resourceVersion);
    if (deployment.replicas === replicas) return deployment;
    deployment.replicas = replicas;
    deployment.resourceVersion = this.#next();
    this.on.changed?.();
    return deployment;
  }

  /** A write that changes nothing gives no new version, as with the API server. */
  annotate(name: string, annotations: Record<string, string>, resourceVersion?: string): ModelPod {
    const pod = this.pod(name);
    this.#demand('pods', name, pod.metadata.resourceVersion, resourceVersion);
    const differs = Object.entries(annotations).some(
      ([key, value]) => pod.metadata.annotations[key] !== value,
    );
    if (differs) {
      Object.assign(pod.metadata.annotations, annotations);
      pod.metadata.resourceVersion = this.#next();
    }
    return pod;
  }

  createLease(name: string, spec: Record<string, unknown>): ModelLease {
    if (this.leases.has(name))
      throw new ModelRefusal(409, 'AlreadyExists', `leases.coordination.k8s.io "${name}" already exists`);
    const metadata = this.#meta(name, {});
    const lease: ModelLease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec };
    this.leases.set(name, lease);
    return lease;
  }

  replaceLease(name: string, spec: Record<string, unknown>, resourceVersion?: string): ModelLease {
    const lease = this.lease(name);
    this.#demand('leases.coordination.k8s.io', name, lease.metadata.resourceVersion, resourceVersion);
    lease.spec = spec;
    lease.metadata.resourceVersion = this.#next();
    return lease;
  }

  /** What the kubelet and the scheduler tell: the Deployment's status follows, and with it its version. */
  become(pod: ModelPod, state: { nodeName?: string; phase?: string; ready?: boolean }): void {
    const wasReady = isReady(pod);
    if (state.nodeName !== undefined) pod.spec.nodeName = state.nodeName;
    if (state.phase !== undefined) pod.status.phase = state.phase;
    if (state.ready !== undefined)
      pod.status.conditions = [
        { type: 'Ready', status: state.ready ? 'True' : 'False', lastTransitionTime: this.#time() },
      ];
    pod.metadata.resourceVersion = this.#next();
    if (isReady(pod) !== wasReady)
      this.deployment(pod.metadata.labels[groupLabel] ?? '').resourceVersion = this.#next();
  }

  /** A pod that is lost for another reason than a fall of the number. */
  lose(pod: ModelPod): void {
    this.pods.delete(pod.metadata.name);
    this.deployment(pod.metadata.labels[groupLabel] ?? '').resourceVersion = this.#next();
    this.on.changed?.();
  }

  /** What the controllers do once: create what is missing, give up what is too much. True: something was done. */
  reconcile(name: string): boolean {
    const deployment = this.deployment(name);
    const active = this.podsOf(name).filter(isActive);
    for (let missing = deployment.replicas - active.length; missing > 0; missing--)
      this.#createPod(deployment);
    const surplus = active.sort(byRemoval).slice(0, Math.max(0, active.length - deployment.replicas));
    for (const pod of surplus) {
      pod.metadata.deletionTimestamp = this.#time();
      pod.metadata.resourceVersion = this.#next();
      this.on.removed?.(pod);
    }
    const changed = surplus.length > 0 || deployment.replicas > active.length;
    if (changed) deployment.resourceVersion = this.#next();
    return changed;
  }

  #createPod({ name, template }: ModelDeployment): void {
    const labels = { [groupLabel]: name, 'pod-template-hash': template };
    const pod: ModelPod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: this.#meta(`${name}-${template}-${++this.#names}`, labels),
      spec: { containers: [{ name: 'data-mover', image: 'registry.example.com/casvault:0.1.0' }] },
      status: { phase: 'Pending', conditions: [] },
    };
    this.pods.set(pod.metadata.name, pod);
  }

  #meta(name: string, labels: Record<string, string>): ModelMeta {
    const resourceVersion = this.#next();
    return {
      name,
      namespace: this.namespace,
      uid: `uid-${resourceVersion}`,
      resourceVersion,
      creationTimestamp: this.#time(),
      labels,
      annotations: {},
    };
  }

  #demand(resource: string, name: string, present: string, asked: string | undefined): void {
    if (asked !== undefined && asked !== present)
      throw new ModelRefusal(
        409,
        'Conflict',
        `Operation cannot be fulfilled on ${resource} "${name}": the object has been modified`,
      );
  }
  #time(): string {
    return `${this.now().toISOString().slice(0, 19)}Z`;
  }
  #next(): string {
    return String(++this.#version);
  }
}
