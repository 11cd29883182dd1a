import { setTimeout as sleep } from 'node:timers/promises';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { casErrorOf, gbkHeader } from '../rest/cas-error.js';
import { parseJsonBody, parseXmlBody, type RequestBody } from '../rest/request-body.js';
import { toJson, toXml } from '../rest/shape.js';
import { casTime } from '../rest/task-board.js';
import { type Authentication } from './authentication.js';
import { hostRoutes } from './host-routes.js';
import { networkRoutes } from './network-routes.js';
import { operatorRoutes } from './operator-routes.js';
import { type Platform } from './platform.js';
import { type Answer, type CasCall, type Route } from './route.js';
import { type Settings, shapeOf } from './settings.js';
import { snapshotRoutes } from './snapshot-routes.js';
import { storageRoutes } from './storage-routes.js';
import { templateRoutes } from './template-routes.js';
import { vmRoutes } from './vm-routes.js';

const base = '/cas/casrs';
const routes: readonly Route[] = [
  ...operatorRoutes,
  ...hostRoutes,
  ...networkRoutes,
  ...storageRoutes,
  ...snapshotRoutes,
  ...templateRoutes,
  ...vmRoutes,
];

export interface TlsFiles {
  readonly key: Buffer;
  readonly cert: Buffer;
}

/** The emulated CVM's REST: not listening yet. The same calls in the clear and, with `tls`, over HTTPS. */
export function makeCvmServer(
  platform: Platform,
  authentication: Authentication,
  tls?: TlsFiles,
): FastifyInstance {
  const server = Fastify({
    routerOptions: { ignoreTrailingSlash: true },
    forceCloseConnections: true,
    ...(tls ? { https: tls } : {}),
  } as Record<string, unknown>);
  server.removeAllContentTypeParsers();
  server.addContentTypeParser(/^application\/json/, { parseAs: 'string' }, (_request, text, next) =>
    next(null, tryParse(parseJsonBody, String(text))),
  );
  server.addContentTypeParser(/^(application|text)\/xml/, { parseAs: 'string' }, (_request, text, next) =>
    next(null, tryParse(parseXmlBody, String(text))),
  );
  server.addContentTypeParser('*', { parseAs: 'string' }, (_request, _text, next) => next(null, {}));
  server.addHook('onRequest', async () => {
    await sleep(platform.settings.latencyMs);
  });
  server.post('/cas/spring_check', (request, reply) => openSession(platform, authentication, request, reply));
  for (const route of routes) {
    server.route({
      method: route.method,
      url: base + route.path,
      handler: (request, reply) => answer(platform, authentication, route, request, reply),
    });
  }
  return server;
}

/** A body that can't be read counts as empty: the call then refuses what is missing. */
function tryParse(parse: (text: string) => RequestBody, text: string): RequestBody {
  try {
    return parse(text);
  } catch {
    return {};
  }
}

async function answer(
  platform: Platform,
  authentication: Authentication,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const signIn = authentication.signIn(
    {
      method: request.method,
      url: request.url,
      authorization: request.headers.authorization,
      cookie: request.headers.cookie,
    },
    { qop: platform.settings.digestQop },
  );
  if ('challenge' in signIn) {
    return await reply.code(401).header('WWW-Authenticate', signIn.challenge).type('text/html').send('');
  }
  if (!signIn.user.administrator && route.open !== true) {
    return await refuse(reply, 11, '操作员没有权限执行此操作。');
  }
  try {
    const call: CasCall = {
      params: request.params as Record<string, string>,
      query: request.query as Record<string, string>,
      body: (request.body as RequestBody | undefined) ?? {},
      user: signIn.user,
      platform,
    };
    return await send(platform.settings, request, reply, await route.handle(call));
  } catch (error) {
    const { code, message } = casErrorOf(error);
    return await refuse(reply, code, message);
  }
}

const refuse = (reply: FastifyReply, code: number, message: string): FastifyReply =>
  reply.code(409).header('Error-Code', String(code)).header('Error-Message', gbkHeader(message)).send('');

const wantsXml = (request: FastifyRequest): boolean => {
  const accept = request.headers.accept ?? '';
  return accept.includes('xml') && !accept.includes('json');
};

function send(settings: Settings, request: FastifyRequest, reply: FastifyReply, given: Answer): FastifyReply {
  if ('status' in given) return reply.code(given.status).send();
  if (request.method === 'GET' && settings.wrongShape) return sendWrong(settings.wrongShape, reply);
  return wantsXml(request)
    ? reply.type('application/xml;charset=UTF-8').send(toXml(given.root, given.fields))
    : reply.type('application/json;charset=UTF-8').send(toJson(given.fields, shapeOf(settings)));
}

function sendWrong(shape: NonNullable<Settings['wrongShape']>, reply: FastifyReply): FastifyReply {
  switch (shape) {
    case 'web-page':
      return reply.type('text/html').send('<html><body><form action="login">CVM</form></body></html>');
    case 'cut-short':
      return reply.type('application/json').send('{"host":[{"id":"1","na');
    case 'other-object':
      return reply.type('application/json').send('{"something":{"else":"1"}}');
    case 'server-error':
      return reply.code(500).type('text/html').send('<html><body>HTTP Status 500</body></html>');
  }
}

/** `POST /cas/spring_check`: the login of the CVM's pages, whose cookie opens the other calls too. */
async function openSession(
  platform: Platform,
  authentication: Authentication,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { name, password } = request.query as Record<string, string>;
  const session = authentication.open(name ?? '', password ?? '');
  const shape = shapeOf(platform.settings);
  if (!session) {
    const body = { loginFailErrorCode: 1, loginFailMessage: '用户名或密码错误。' };
    return await reply.type('application/json').send(toJson(body, shape));
  }
  const group = session.user.administrator
    ? { operatorGroupId: 1, operatorGroupName: '系统管理员', operatorGroupCode: 'ROOT' }
    : { operatorGroupId: 3, operatorGroupName: '普通操作员', operatorGroupCode: 'OPERATOR' };
  const body = {
    loginFailErrorCode: 0,
    loginFailMessage: '',
    sessionId: session.id,
    userName: session.user.name,
    idleTimeout: 30,
    loginTime: casTime(platform.clock()),
    loginIp: request.ip,
    ...group,
  };
  return await reply
    .header('Set-Cookie', session.setCookie)
    .type('application/json;charset=UTF-8')
    .send(toJson(body, shape));
}
