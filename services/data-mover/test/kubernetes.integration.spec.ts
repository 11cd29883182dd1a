import { randomBytes } from 'node:crypto';
import { AppsV1Api, KubeConfig, setHeaderOptions } from '@kubernetes/client-node';
import { until } from '@casvault/testkit';
import { Kubernetes } from '../src/scaler/kubernetes.js';
import { type MoverPod } from '../src/scaler/scaler.js';
import { KubernetesApi, scalerRules } from './kubernetes-api.js';

interface Place {
  readonly cluster: Kubernetes;
  readonly deployment: string;
  /** The cluster's own controllers do their part. */
  act(): void;
  close(): Promise<void>;
}

const clusterOf = (config: KubeConfig, signal = new AbortController().signal): Kubernetes =>
  new Kubernetes({ config, now: () => new Date(), signal });

const deployment = 'casvault-data-mover-default';
const modelled = async (): Promise<Place & { readonly api: KubernetesApi }> => {
  const api = await KubernetesApi.start();
  api.model.addDeployment(deployment);
  const act = (): void => {
    api.model.reconcile(deployment);
    for (const pod of api.model.podsOf(deployment))
      if (pod.status.phase === 'Pending')
        api.model.become(pod, { nodeName: 'node-1', phase: 'Running', ready: true });
  };
  return { api, deployment, act, cluster: clusterOf(api.config(scalerRules)), close: () => api.stop() };
};

/** A cluster that a kubeconfig names: makes a Deployment of idle pods in the context's namespace, and removes it. */
const real = async (kubeconfig: string): Promise<Place> => {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
  const name = `casvault-conformance-${randomBytes(3).toString('hex')}`;
  const matchLabels = { 'casvault.io/conformance': name };
  const containers = [
    { name: 'pause', image: process.env['CASVAULT_TEST_PAUSE_IMAGE'] ?? 'registry.k8s.io/pause:3.10' },
  ];
  const template = { metadata: { labels: matchLabels }, spec: { containers } };
  const apps = config.makeApiClient(AppsV1Api);
  const spec = { replicas: 0, selector: { matchLabels }, template };
  await apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec } });
  const close = async (): Promise<void> => void (await apps.deleteNamespacedDeployment({ namespace, name }));
  return { cluster: clusterOf(config), deployment: name, act: () => undefined, close };
};

const conforms = (open: () => Promise<Place>): void => {
  let place: Place;
  beforeAll(async () => {
    place = await open();
  });
  afterAll(() => place.close());

  const settled = async (count: number): Promise<MoverPod[]> => {
    const { selector } = await place.cluster.readScale(place.deployment);
    return until(async () => {
      place.act();
      const pods = await place.cluster.listPods(selector);
      return pods.length === count && pods.every(({ isReady }) => isReady) ? pods : null;
    }, 120_000);
  };

  it('writes the number under the version that was read, and under no other', async () => {
    const before = await place.cluster.readScale(place.deployment);
    expect(before.replicas).toBe(0);
    await place.cluster.writeScale(place.deployment, 3, before.resourceVersion);
    const stale = place.cluster.writeScale(place.deployment, 9, before.resourceVersion);
    await expect(stale).rejects.toMatchObject({ code: 'CONFLICT' });
    expect((await place.cluster.readScale(place.deployment)).replicas).toBe(3);
    expect(new Set((await settled(3)).map(({ template }) => template)).size).toBe(1);
  });

  it('gives up the pod with the lowest cost, written under its version alone', async () => {
    const [, chosen] = await settled(3);
    await place.cluster.writeDeletionCost(chosen!, -7);
    const stale = place.cluster.writeDeletionCost(chosen!, -1);
    await expect(stale).rejects.toMatchObject({ code: 'CONFLICT' });
    const { resourceVersion } = await place.cluster.readScale(place.deployment);
    await place.cluster.writeScale(place.deployment, 2, resourceVersion);
    expect((await settled(2)).map(({ name }) => name)).not.toContain(chosen!.name);
  });

  it('holds a Lease under the version that was read', async () => {
    const name = `lease-${randomBytes(3).toString('hex')}`;
    expect(await place.cluster.readLease(name)).toBeNull();
    const first = await place.cluster.holdLease(name, 'one', null);
    await expect(place.cluster.holdLease(name, 'two', null)).rejects.toMatchObject({ code: 'CONFLICT' });
    await place.cluster.holdLease(name, 'one', first);
    await expect(place.cluster.holdLease(name, 'two', first)).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await place.cluster.readLease(name)).toMatchObject({ holder: 'one' });
  });

  it('says what is not there', async () => {
    await expect(place.cluster.readScale('nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
};

describe('Kubernetes, the API server of the tests', () => {
  conforms(modelled);
});

const kubeconfig = process.env['CASVAULT_TEST_KUBECONFIG'];
(kubeconfig ? describe : describe.skip)('Kubernetes, the cluster of CASVAULT_TEST_KUBECONFIG', () => {
  conforms(() => real(kubeconfig ?? ''));
});

describe('what the Kubernetes API refuses', () => {
  let place: Awaited<ReturnType<typeof modelled>>;
  beforeAll(async () => {
    place = await modelled();
  });
  afterAll(() => place.close());

  it.each(scalerRules)('names the rule that is missing: %s', async (rule) => {
    const { api, cluster } = place;
    const pod = { name: 'x', resourceVersion: '1', isReady: true, template: '', createdAt: '' };
    const lease = await cluster.holdLease(`of ${rule}`.replace(/\W/g, '-'), 'one', null);
    const poor = clusterOf(api.config(scalerRules.filter((one) => one !== rule)));
    const calls: Record<string, () => Promise<unknown>> = {
      'get deployments/scale': () => poor.readScale(deployment),
      'patch deployments/scale': () => poor.writeScale(deployment, 1, '1'),
      'list pods': () => poor.listPods('a=b'),
      'patch pods': () => poor.writeDeletionCost(pod, 1),
      'get leases': () => poor.readLease('a'),
      'create leases': () => poor.holdLease('a', 'one', null),
      'update leases': () => poor.holdLease('a', 'one', lease),
    };
    const refused = calls[rule]?.();
    await expect(refused).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(refused).rejects.toThrow(rule);
  });

  it('refuses an unknown token, and a server of another authority', async () => {
    const { api } = place;
    const stranger = clusterOf(api.configWith('nobody'));
    await expect(stranger.listPods('a=b')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    const other = await KubernetesApi.start();
    const misled = clusterOf(api.config(scalerRules, { ca: other.authority }));
    await other.stop();
    await expect(misled.listPods('a=b')).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  });

  it('takes nothing that the client has no field for', async () => {
    const { api } = place;
    const apps = api.config(scalerRules).makeApiClient(AppsV1Api);
    const body = { spec: { replicas: 'three' } };
    const headers = setHeaderOptions('Content-Type', 'application/merge-patch+json');
    const namespace = api.model.namespace;
    const patched = apps.patchNamespacedDeploymentScale({ name: deployment, namespace, body }, headers);
    await expect(patched).rejects.toMatchObject({ code: 400 });
  });

  it('ends at once when it is told to', async () => {
    const told = new AbortController();
    told.abort();
    const stopped = clusterOf(place.api.config(scalerRules), told.signal);
    await expect(stopped.listPods('a=b')).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  });

  it('takes pods that are not ready before it looks at their cost, and leaves out those on their way', async () => {
    const { api, cluster } = place;
    const set = async (replicas: number): Promise<void> => {
      const { resourceVersion } = await cluster.readScale(deployment);
      await cluster.writeScale(deployment, replicas, resourceVersion);
      place.act();
    };
    await set(3);
    const { selector } = await cluster.readScale(deployment);
    const [unready, cheap] = await cluster.listPods(selector);
    await cluster.writeDeletionCost(cheap!, -1);
    api.model.become(api.model.pod(unready!.name), { ready: false });
    await set(2);
    const left = (await cluster.listPods(selector)).map(({ name }) => name);
    expect(left).toHaveLength(2);
    expect(left).toContain(cheap!.name);
    expect(left).not.toContain(unready!.name);
  });
});
