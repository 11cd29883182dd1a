import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../../../', import.meta.url));

const count = z.string().regex(/^\d+$/).transform(Number);
const triggerSchema = z.object({
  type: z.literal('nats-jetstream'),
  metadata: z.strictObject({
    natsServerMonitoringEndpoint: z.string().min(1),
    account: z.string().min(1),
    stream: z.string().min(1),
    consumer: z.string().min(1),
    lagThreshold: count,
    activationLagThreshold: count,
  }),
});
export type KedaTrigger = z.infer<typeof triggerSchema>['metadata'];

const scaledObjectSchema = z
  .object({
    spec: z.object({
      minReplicaCount: z.number(),
      maxReplicaCount: z.number(),
      triggers: z.array(triggerSchema),
    }),
  })
  .transform(({ spec: { triggers, ...spec } }) => ({
    ...spec,
    triggers: triggers.map(({ metadata }) => metadata),
  }));
export type ScaledObject = z.infer<typeof scaledObjectSchema>;

const deploymentSchema = z
  .object({
    spec: z.object({
      template: z.object({
        spec: z.object({
          containers: z.tuple([
            z.object({ env: z.array(z.object({ name: z.string(), value: z.string().optional() })) }),
          ]),
        }),
      }),
    }),
  })
  .transform(
    ({ spec }) => new Map(spec.template.spec.containers[0].env.map(({ name, value }) => [name, value])),
  );

/** The ScaledObject of the group `default` as the real helm renders it, and the environment of the movers that it scales. */
export const renderedScaledObject = async (
  monitoring: string,
): Promise<{ scaledObject: ScaledObject; moverEnv: ReadonlyMap<string, string | undefined> }> => {
  const { stdout: helm } = await run(`${root}tools/setup/helm.sh`);
  const keda = 'dataMovers.groups.default.autoscaling.keda';
  const set = [`${keda}.enabled=true`, `${keda}.minReplicas=0`, `${keda}.monitoringEndpoint=${monitoring}`];
  const { stdout } = await run(helm.trim(), [
    ...['template', 'casvault', `${root}helm/casvault`, '--show-only', 'templates/data-movers.yaml'],
    ...['--values', `${root}helm/casvault/values-trial.yaml`],
    ...set.flatMap((one) => ['--set', one]),
  ]);
  const objects = parseAllDocuments(stdout).map((one) => one.toJS() as unknown);
  const only = (kind: string) =>
    objects.find((one) => z.object({ kind: z.literal(kind) }).safeParse(one).success);
  return {
    scaledObject: scaledObjectSchema.parse(only('ScaledObject')),
    moverEnv: deploymentSchema.parse(only('Deployment')),
  };
};

const jszSchema = z.object({
  account_details: z
    .array(
      z.object({
        id: z.string(),
        name: z.string(),
        stream_detail: z
          .array(
            z.object({
              name: z.string(),
              consumer_detail: z
                .array(z.object({ name: z.string(), num_pending: z.number(), num_ack_pending: z.number() }))
                .default([]),
            }),
          )
          .default([]),
      }),
    )
    .default([]),
});

/** What a consumer has left: `pending` was given to nobody yet, `unacknowledged` is with a mover. */
export interface Lag {
  readonly pending: number;
  readonly unacknowledged: number;
  /** What KEDA scales by. */
  readonly total: number;
}

/**
 * What the scaler `nats-jetstream` of KEDA 2.20.2 reads off one server that is in no cluster: `getNATSJetStreamMonitoringURL` and `getMaxMsgLag`
 * of pkg/scalers/nats_jetstream_scaler.go in kedacore/keda at 68a5b502. Throws where that answers with an error. In a cluster it asks the
 * consumer's leader, which is not played here.
 */
export const lagOf = async (trigger: KedaTrigger): Promise<Lag> => {
  const asked = new URLSearchParams({ acc: trigger.account, config: 'true', consumers: 'true' });
  const answer = await fetch(`http://${trigger.natsServerMonitoringEndpoint}/jsz?${asked.toString()}`);
  const { account_details: accounts } = jszSchema.parse(await answer.json());
  const consumer = accounts
    .filter(({ id, name }) => id === trigger.account || name === trigger.account)
    .flatMap(({ stream_detail: streams }) => streams.filter(({ name }) => name === trigger.stream))
    .flatMap(({ consumer_detail: consumers }) => consumers.filter(({ name }) => name === trigger.consumer))
    .at(0);
  if (!consumer) throw new Error(`consumer ${trigger.consumer} not found in stream ${trigger.stream}`);
  const { num_pending: pending, num_ack_pending: unacknowledged } = consumer;
  return { pending, unacknowledged, total: pending + unacknowledged };
};

/**
 * How many pods that makes in the end: the least number while no trigger is above its activation threshold (pkg/scaling/executor), otherwise what the
 * HorizontalPodAutoscaler takes of metrics of the type AverageValue, the most that any of them asks for. Its tolerance of 10 % is left out.
 */
export const replicasFor = async (object: ScaledObject): Promise<number> => {
  const { triggers, minReplicaCount: least, maxReplicaCount: most } = object;
  let wanted = 0;
  for (const trigger of triggers) {
    const { total } = await lagOf(trigger);
    if (total > trigger.activationLagThreshold)
      wanted = Math.max(wanted, Math.ceil(total / trigger.lagThreshold));
  }
  return wanted === 0 ? least : Math.min(most, Math.max(least, wanted));
};
