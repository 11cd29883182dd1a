import { z } from 'zod';
import { bytesSchema, instantSchema, sealedSchema } from './define.js';
import { poolIdSchema } from './ids.js';

/** Where a pool's objects live, as the worker opens it. Secrets are sealed. */
export const poolLocationSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('fs'), path: z.string().startsWith('/', 'must be an absolute path').max(1024) }),
  z.object({
    kind: z.literal('s3'),
    endpoint: z.url(),
    region: z.string().min(1).default('us-east-1'),
    bucket: z.string().min(3).max(63),
    prefix: z.string().max(512).default(''),
    accessKeyId: z.string().min(1),
    secretKey: sealedSchema,
    forcePathStyle: z.boolean().default(true),
  }),
]);
export type PoolLocation = z.infer<typeof poolLocationSchema>;

/** E1 standard (file system), E3 object (S3). Dedup and tape follow. */
export const poolTypeSchema = z.enum(['standard', 'object']);

export const poolSchema = z.object({
  id: poolIdSchema,
  name: z.string(),
  type: poolTypeSchema,
  location: poolLocationSchema,
  createdAt: instantSchema,
});
export type Pool = z.infer<typeof poolSchema>;

/** A pool as the API shows it: no secret, not even sealed. */
export const poolViewSchema = z.object({
  id: poolIdSchema,
  name: z.string(),
  type: poolTypeSchema,
  location: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('fs'), path: z.string() }),
    z.object({
      kind: z.literal('s3'),
      endpoint: z.string(),
      region: z.string(),
      bucket: z.string(),
      prefix: z.string(),
      accessKeyId: z.string(),
      forcePathStyle: z.boolean(),
    }),
  ]),
  capacityBytes: bytesSchema.nullable(),
  freeBytes: bytesSchema.nullable(),
  createdAt: instantSchema,
});
export type PoolView = z.infer<typeof poolViewSchema>;
