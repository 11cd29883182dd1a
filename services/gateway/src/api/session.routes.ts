import { principalSchema, sessionSchema, signIn, signInBodySchema, signOut } from '@casvault/contracts';
import * as examples from './examples.js';
import { route, type Route } from './route.js';

const tag = 'Sessions';

export const sessionRoutes: readonly Route[] = [
  route({
    id: 'signIn',
    method: 'POST',
    path: '/sessions',
    tag,
    summary: 'Sign in',
    description:
      'Replies with a bearer token, shown this once. With `cookie` the session is also set as an HttpOnly, SameSite=Strict cookie. ' +
      'After too many failures sign-in is refused for a while (LOGIN_THROTTLED).',
    access: 'public',
    body: signInBodySchema,
    status: 201,
    reply: sessionSchema,
    faults: ['LOGIN_FAILED', 'LOGIN_THROTTLED'],
    example: { body: { userName: 'admin', password: 'correct horse battery' }, reply: examples.session },
    serve: async ({ ask, body, seal, open, clientAddress, setSessionCookie }) => {
      const opened = await ask(signIn, {
        userName: body.userName,
        password: seal(body.password),
        clientAddress,
      });
      const token = open(opened.token);
      if (body.cookie) setSessionCookie(token, opened.expiresAt);
      return { ...opened, token };
    },
  }),
  route({
    id: 'signOut',
    method: 'DELETE',
    path: '/sessions/current',
    tag,
    summary: 'Sign out',
    description: 'Ends the session of the token that was sent. Other gateways may go on taking it for 10 s.',
    access: 'signed-in',
    sessionOnly: true,
    status: 204,
    faults: [],
    example: {},
    serve: async ({ ask, caller, forgetSession }) => {
      await ask(signOut, { tokenHash: caller().tokenHash });
      forgetSession();
    },
  }),
  route({
    id: 'getMe',
    method: 'GET',
    path: '/me',
    tag,
    summary: 'Who the caller is, with roles',
    access: 'signed-in',
    status: 200,
    reply: principalSchema,
    faults: [],
    example: { reply: examples.principal },
    serve: async ({ caller }) => caller().principal,
  }),
];
