import { z } from 'zod';
import {
  defineQuery,
  emptySchema,
  instantSchema,
  pageOf,
  pageRequestSchema,
  sealedSchema,
} from './define.js';
import { apiTokenIdSchema, userIdSchema } from './ids.js';

/** B4. */
export const roleSchema = z.enum(['administrator', 'operator', 'auditor']);
export type Role = z.infer<typeof roleSchema>;
export const principalSchema = z.object({
  userId: userIdSchema,
  userName: z.string(),
  roles: z.array(roleSchema),
  via: z.enum(['session', 'token']),
});
export type Principal = z.infer<typeof principalSchema>;

/** The password is sealed by the gateway, the session token by licensing-auth: neither travels in clear. */
export const signIn = defineQuery('licensing-auth', 'sign-in', 1, {
  request: z.object({
    userName: z.string().min(1).max(128),
    password: sealedSchema,
    clientAddress: z.string(),
  }),
  reply: z.object({ token: sealedSchema, expiresAt: instantSchema, principal: principalSchema }),
});
export const signOut = defineQuery('licensing-auth', 'sign-out', 1, {
  request: z.object({ tokenHash: z.string() }),
  reply: emptySchema,
});
/** `tokenHash`: hex SHA-256 of the session or API token (both have 256 bits of entropy). */
export const authenticate = defineQuery('licensing-auth', 'authenticate', 1, {
  request: z.object({ tokenHash: z.string().regex(/^[0-9a-f]{64}$/) }),
  reply: principalSchema,
});
export const createApiToken = defineQuery('licensing-auth', 'create-api-token', 1, {
  request: z.object({
    id: apiTokenIdSchema,
    userId: userIdSchema,
    name: z.string().trim().min(1).max(128),
    expiresAt: instantSchema.nullable(),
  }),
  reply: z.object({
    id: apiTokenIdSchema,
    name: z.string(),
    token: sealedSchema,
    expiresAt: instantSchema.nullable(),
  }),
});
export const listApiTokens = defineQuery('licensing-auth', 'list-api-tokens', 1, {
  request: pageRequestSchema.extend({ userId: userIdSchema }),
  reply: pageOf(
    z.object({
      id: apiTokenIdSchema,
      name: z.string(),
      createdAt: instantSchema,
      expiresAt: instantSchema.nullable(),
      lastUsedAt: instantSchema.nullable(),
    }),
  ),
});
export const revokeApiToken = defineQuery('licensing-auth', 'revoke-api-token', 1, {
  request: z.object({ userId: userIdSchema, id: apiTokenIdSchema }),
  reply: emptySchema,
});
