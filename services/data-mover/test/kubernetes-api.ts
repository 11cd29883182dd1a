import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tempDir, type TempDir } from '@casvault/testkit';
import * as client from '@kubernetes/client-node';
import {
  ModelCluster,
  ModelRefusal,
  type ModelDeployment,
  type ModelPod,
} from '../src/scaler/testing/model-cluster.js';

type Json = Readonly<Record<string, unknown>>;
/** What a token may do, as `verb resource`. */
type Rules = ReadonlySet<string>;
interface Asked {
  readonly verb: string;
  readonly resource: string;
  readonly name: string | undefined;
  readonly selector: string | null;
  readonly body: Json;
}

/** What the chart's role grants, and nothing else. */
export const scalerRules = [
  'get deployments/scale',
  'patch deployments/scale',
  'list pods',
  'patch pods',
  'get leases',
  'create leases',
  'update leases',
];

const run = promisify(execFile);
const typed = client as unknown as Readonly<
  Record<string, { getAttributeTypeMap?(): { baseName: string; type: string }[] } | undefined>
>;

const isOf = (type: string, value: unknown): boolean =>
  type === 'any' || typeof value === (type === 'Date' || type === 'V1MicroTime' ? 'string' : type);

/** What of an object Kubernetes' own client does not know: unknown fields, wrong types. */
const typeProblems = (type: string, value: unknown, path = type): string[] => {
  const item = /^Array<(.*)>$/.exec(type)?.[1];
  if (item !== undefined) {
    if (!Array.isArray(value)) return [`${path}: no list`];
    return value.flatMap((one, index) => typeProblems(item, one, `${path}[${index}]`));
  }
  const entry = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  const fields = typed[type]?.getAttributeTypeMap?.();
  if (entry === undefined && fields === undefined) return isOf(type, value) ? [] : [`${path}: is no ${type}`];
  if (typeof value !== 'object' || value === null) return [`${path}: is no object`];
  return Object.entries(value).flatMap(([key, own]) => {
    const of = entry ?? fields?.find(({ baseName }) => baseName === key)?.type;
    return of === undefined ? [`${path}.${key}: unknown field`] : typeProblems(of, own, `${path}.${key}`);
  });
};

/** JSON merge patch (RFC 7386). */
const merged = (target: unknown, patch: unknown): unknown => {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = typeof target === 'object' ? { ...target } : {};
  for (const [key, value] of Object.entries(patch))
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  return result;
};

const versionOf = (body: Json): string | undefined =>
  (body['metadata'] as { resourceVersion?: string } | undefined)?.resourceVersion;

/** Throws 400 for what the client's types do not have. */
const demandType = (type: string, value: unknown): void => {
  const problems = typeProblems(type, value);
  if (problems.length > 0)
    throw new ModelRefusal(400, 'BadRequest', `strict decoding error: ${problems.join()}`);
};

/**
 * The endpoints of the Kubernetes API that the scaler uses, over a model of a namespace: HTTPS with an authority of its own,
 * bearer tokens, RBAC, versions and conflicts. What it takes and gives is held against the types of Kubernetes' own client.
 */
export class KubernetesApi {
  readonly #rules = new Map<string, Rules>();
  readonly requests: string[] = [];

  private constructor(
    readonly model: ModelCluster,
    private readonly dir: TempDir,
    private readonly server: Server,
    readonly authority: string,
  ) {}

  static async start(): Promise<KubernetesApi> {
    const dir = await tempDir();
    const [key, cert] = [join(dir.path, 'key.pem'), join(dir.path, 'cert.pem')];
    const subject = ['-subj', '/CN=kubernetes', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    await run('openssl', [
      'req',
      '-x509',
      '-nodes',
      '-days',
      '2',
      ...curve,
      ...subject,
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const ca = await readFile(cert, 'utf8');
    const server = createServer({ key: await readFile(key), cert: ca });
    const api = new KubernetesApi(new ModelCluster(() => new Date()), dir, server, ca);
    server.on('request', (request, response) => void api.#serve(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  /** A configuration whose token may do what `rules` say. With `ca` another authority is trusted. */
  config(rules: readonly string[], options: { readonly ca?: string } = {}): client.KubeConfig {
    const token = `token-${this.#rules.size}`;
    this.#rules.set(token, new Set(rules));
    return this.configWith(token, options);
  }
  configWith(token: string, { ca = this.authority }: { readonly ca?: string } = {}): client.KubeConfig {
    const config = new client.KubeConfig();
    const { port } = this.server.address() as AddressInfo;
    config.loadFromOptions({
      clusters: [
        { name: 'model', server: `https://127.0.0.1:${port}`, caData: Buffer.from(ca).toString('base64') },
      ],
      users: [{ name: 'scaler', token }],
      contexts: [{ name: 'model', cluster: 'model', user: 'scaler', namespace: this.model.namespace }],
      currentContext: 'model',
    });
    return config;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await this.dir[Symbol.asyncDispose]();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = (code: number, body: unknown): void => {
      response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    try {
      const asked = await this.#read(request);
      this.requests.push(`${asked.verb} ${asked.resource}`);
      this.#authorise(request.headers.authorization, asked);
      answer(asked.verb === 'create' ? 201 : 200, this.#act(asked));
    } catch (error) {
      const { code, reason } = error instanceof ModelRefusal ? error : { code: 500, reason: 'InternalError' };
      const message = (error as Error).message;
      answer(code, {
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message,
        reason,
        code,
      });
    }
  }

  async #read(request: IncomingMessage): Promise<Asked> {
    const url = new URL(request.url ?? '/', 'https://model');
    const parts = /^\/(?:api|apis\/[\w.]+)\/v1\/namespaces\/([\w-]+)\/(\w+)(?:\/([\w.-]+))?(\/scale)?$/.exec(
      url.pathname,
    );
    if (!parts || parts[1] !== this.model.namespace) throw new ModelRefusal(404, 'NotFound', 'no such path');
    const name = parts[3];
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const verbs: Record<string, string> = {
      GET: name ? 'get' : 'list',
      POST: 'create',
      PUT: 'update',
      PATCH: 'patch',
    };
    const isMerge = request.headers['content-type'] === 'application/merge-patch+json';
    if (request.method === 'PATCH' && !isMerge)
      throw new ModelRefusal(415, 'UnsupportedMediaType', 'merge patches alone');
    return {
      verb: verbs[request.method ?? ''] ?? 'other',
      resource: `${parts[2] ?? ''}${parts[4] ?? ''}`,
      name,
      selector: url.searchParams.get('labelSelector'),
      body: chunks.length > 0 ? (JSON.parse(Buffer.concat(chunks).toString()) as Json) : {},
    };
  }

  #authorise(authorization: string | undefined, { verb, resource }: Asked): void {
    const rules = this.#rules.get(authorization?.replace(/^Bearer /, '') ?? '');
    if (!rules) throw new ModelRefusal(401, 'Unauthorized', 'Unauthorized');
    if (rules.has(`${verb} ${resource}`)) return;
    const message = `User "scaler" cannot ${verb} resource "${resource}" in the namespace "${this.model.namespace}"`;
    throw new ModelRefusal(403, 'Forbidden', message);
  }

  #act({ verb, resource, name = '', selector, body }: Asked): unknown {
    const { model } = this;
    switch (`${verb} ${resource}`) {
      case 'get deployments/scale':
        return this.#scale(model.deployment(name));
      case 'patch deployments/scale': {
        const patched = merged(this.#scale(model.deployment(name)), body) as { spec: { replicas: number } };
        demandType('V1Scale', patched);
        return this.#scale(model.scale(name, patched.spec.replicas, versionOf(body)));
      }
      case 'list pods':
        return this.#pods(selector ?? '');
      case 'patch pods': {
        const patched = merged(model.pod(name), body) as ModelPod;
        demandType('V1Pod', patched);
        return model.annotate(name, patched.metadata.annotations, versionOf(body));
      }
      case 'get leases':
        return model.lease(name);
      case 'create leases':
        demandType('V1Lease', body);
        return model.createLease((body['metadata'] as { name: string }).name, body['spec'] as Json);
      case 'update leases':
        demandType('V1Lease', body);
        return model.replaceLease(name, body['spec'] as Json, versionOf(body));
      default:
        throw new ModelRefusal(405, 'MethodNotAllowed', `${verb} ${resource} is not modelled`);
    }
  }

  #pods(selector: string): unknown {
    const [key = '', value] = selector.split('=');
    const items = [...this.model.pods.values()].filter(({ metadata }) => metadata.labels[key] === value);
    const list = { apiVersion: 'v1', kind: 'PodList', metadata: { resourceVersion: '1' }, items };
    demandType('V1PodList', list);
    return list;
  }

  #scale({ name, replicas, resourceVersion }: ModelDeployment): Json {
    const { namespace } = this.model;
    const scale = {
      apiVersion: 'autoscaling/v1',
      kind: 'Scale',
      metadata: { name, namespace, resourceVersion },
      spec: { replicas },
      status: { replicas: this.model.podsOf(name).length, selector: this.model.selectorOf(name) },
    };
    demandType('V1Scale', scale);
    return scale;
  }
}
