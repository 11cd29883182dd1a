import type { FastifyInstance } from 'fastify';

/** An API that shows no page: nothing may be loaded, framed, sniffed or kept by caches. */
const headers: Readonly<Record<string, string>> = {
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

export const addSecurityHeaders = (http: FastifyInstance): void => {
  http.addHook('onRequest', (request, reply, done) => {
    reply.headers(headers);
    if (request.protocol === 'https') reply.header('Strict-Transport-Security', 'max-age=31536000');
    done();
  });
};
