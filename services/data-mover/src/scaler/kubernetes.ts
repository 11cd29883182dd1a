import { Fault } from '@casvault/contracts';
import {
  ApiException,
  AppsV1Api,
  CoordinationV1Api,
  CoreV1Api,
  KubeConfig,
  Observable,
  PatchStrategy,
  setHeaderMiddleware,
  V1MicroTime,
  type ObservableMiddleware,
  type V1Lease,
  type V1Pod,
} from '@kubernetes/client-node';
import { scalerLimits, type Cluster, type Lease, type MoverPod, type Scale } from './scaler.js';

export interface KubernetesOptions {
  readonly config: KubeConfig;
  readonly now: () => Date;
  /** Aborts what is under way. */
  readonly signal: AbortSignal;
}
type CallOptions = { middleware: ObservableMiddleware[]; middlewareMergeStrategy: 'append' };

const costAnnotation = 'controller.kubernetes.io/pod-deletion-cost';

/** Some answers have no body. */
const textOf = (body: unknown): string =>
  (typeof body === 'string' ? body : JSON.stringify(body ?? '')).slice(0, 500);

/** What the API server's refusal means to us; `asked` is the verb and resource as a rule of RBAC names them. */
const asFault = (error: unknown, asked: string): Fault => {
  if (!(error instanceof ApiException))
    return new Fault('DEPENDENCY_UNAVAILABLE', `the Kubernetes API does not answer: ${asked}`, {
      cause: error,
    });
  const said = textOf(error.body);
  switch (error.code) {
    case 401:
      return new Fault('UNAUTHENTICATED', `the Kubernetes API does not take the account's token: ${asked}`);
    case 403:
      return new Fault('FORBIDDEN', `a rule of RBAC is missing: ${asked}: ${said}`);
    case 404:
      return new Fault('NOT_FOUND', `the Kubernetes API has no such object: ${asked}`);
    case 409:
      return new Fault('CONFLICT', `changed by another since it was read: ${asked}`);
    default: {
      const isPassing = error.code === 429 || error.code >= 500;
      const message = `the Kubernetes API answered ${error.code}: ${asked}: ${said}`;
      return new Fault(isPassing ? 'DEPENDENCY_UNAVAILABLE' : 'BUG', message);
    }
  }
};

const isReady = ({ spec, status }: V1Pod): boolean =>
  spec?.nodeName !== undefined &&
  status?.phase === 'Running' &&
  (status.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True');

const podOf = (pod: V1Pod): MoverPod => {
  const { name = '', resourceVersion = '', labels, creationTimestamp } = pod.metadata ?? {};
  return {
    name,
    resourceVersion,
    isReady: isReady(pod),
    template: labels?.['pod-template-hash'] ?? '',
    createdAt: creationTimestamp?.toISOString() ?? '',
  };
};

/** As a ReplicaSet counts its pods. */
const counts = ({ metadata, status }: V1Pod): boolean =>
  metadata?.deletionTimestamp === undefined && status?.phase !== 'Succeeded' && status?.phase !== 'Failed';

const leaseOf = ({ metadata, spec }: V1Lease): Lease => ({
  holder: spec?.holderIdentity ?? '',
  resourceVersion: metadata?.resourceVersion ?? '',
});

/** The few calls of the scaler, over Kubernetes' own client. Each ends after `requestMs`. */
export class Kubernetes implements Cluster {
  readonly #options: KubernetesOptions;
  readonly #namespace: string;
  readonly #apps: AppsV1Api;
  readonly #core: CoreV1Api;
  readonly #coordination: CoordinationV1Api;

  constructor(options: KubernetesOptions) {
    const { config } = options;
    this.#options = options;
    this.#namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
    this.#apps = config.makeApiClient(AppsV1Api);
    this.#core = config.makeApiClient(CoreV1Api);
    this.#coordination = config.makeApiClient(CoordinationV1Api);
  }

  /** With the account that the pod runs as. */
  static inCluster(options: Omit<KubernetesOptions, 'config'>): Kubernetes {
    const config = new KubeConfig();
    config.loadFromCluster();
    return new Kubernetes({ ...options, config });
  }

  async readScale(deployment: string): Promise<Scale> {
    const { metadata, spec, status } = await this.#call('get deployments/scale', deployment, (options) =>
      this.#apps.readNamespacedDeploymentScale(this.#named(deployment), options),
    );
    if (!status?.selector || !metadata?.resourceVersion)
      throw new Fault('DEPENDENCY_UNAVAILABLE', `deployment ${deployment}: its scale has no selector yet`);
    return {
      replicas: spec?.replicas ?? 0,
      resourceVersion: metadata.resourceVersion,
      selector: status.selector,
    };
  }

  async writeScale(deployment: string, replicas: number, resourceVersion: string): Promise<void> {
    const body = { metadata: { resourceVersion }, spec: { replicas } };
    await this.#call('patch deployments/scale', deployment, (options) =>
      this.#apps.patchNamespacedDeploymentScale({ ...this.#named(deployment), body }, options),
    );
  }

  async listPods(labelSelector: string): Promise<MoverPod[]> {
    const { items } = await this.#call('list pods', labelSelector, (options) =>
      this.#core.listNamespacedPod({ namespace: this.#namespace, labelSelector }, options),
    );
    return items.filter(counts).map(podOf);
  }

  async writeDeletionCost({ name, resourceVersion }: MoverPod, cost: number): Promise<void> {
    const body = { metadata: { resourceVersion, annotations: { [costAnnotation]: String(cost) } } };
    await this.#call('patch pods', name, (options) =>
      this.#core.patchNamespacedPod({ ...this.#named(name), body }, options),
    );
  }

  async readLease(name: string): Promise<Lease | null> {
    try {
      const lease = await this.#call('get leases', name, (options) =>
        this.#coordination.readNamespacedLease(this.#named(name), options),
      );
      return leaseOf(lease);
    } catch (error) {
      if (Fault.from(error).code === 'NOT_FOUND') return null;
      throw error;
    }
  }

  async holdLease(name: string, holder: string, present: Lease | null): Promise<Lease> {
    const namespace = this.#namespace;
    const body: V1Lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, ...(present ? { resourceVersion: present.resourceVersion } : {}) },
      spec: {
        holderIdentity: holder,
        leaseDurationSeconds: scalerLimits.leaseMs / 1_000,
        renewTime: new V1MicroTime(this.#options.now()),
      },
    };
    const lease = await this.#call(`${present ? 'update' : 'create'} leases`, name, (options) =>
      present
        ? this.#coordination.replaceNamespacedLease({ name, namespace, body }, options)
        : this.#coordination.createNamespacedLease({ namespace, body }, options),
    );
    return leaseOf(lease);
  }

  #named(name: string): { readonly name: string; readonly namespace: string } {
    return { name, namespace: this.#namespace };
  }

  /** `what` as `verb resource`. */
  async #call<T>(what: string, of: string, call: (options: CallOptions) => Promise<T>): Promise<T> {
    const signal = AbortSignal.any([this.#options.signal, AbortSignal.timeout(scalerLimits.requestMs)]);
    const stopped: ObservableMiddleware = {
      pre: (context) => {
        context.setSignal(signal);
        return new Observable(Promise.resolve(context));
      },
      post: (context) => new Observable(Promise.resolve(context)),
    };
    const isPatch = what.startsWith('patch ');
    const typed = isPatch ? [setHeaderMiddleware('Content-Type', PatchStrategy.MergePatch)] : [];
    try {
      return await call({ middleware: [stopped, ...typed], middlewareMergeStrategy: 'append' });
    } catch (error) {
      throw asFault(error, `${what}: ${this.#namespace}/${of}`);
    }
  }
}
