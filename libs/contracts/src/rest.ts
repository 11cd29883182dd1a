import { z } from 'zod';
import { instantSchema } from './define.js';
import {
  backupDefinitionSchema,
  copyDefinitionSchema,
  restoreDefinitionSchema,
  verifyDefinitionSchema,
} from './job-definition.js';
import { faultSchema } from './fault.js';
import { importLicence } from './licence.js';
import { createApiToken, principalSchema, signIn } from './licensing-auth.js';
import { diskServiceAccessSchema, platformConnectionSchema, registerPlatform } from './inventory.js';
import { chainIdSchema } from './ids.js';
import { removedPointsSchema } from './data-mover.js';
import { deletionModeSchema, namesPointsOrChain } from './deletion.js';
import { holdReasonSchema } from './point.js';
import { creationTargetSchema } from './restore.js';
import { poolLocationSchema } from './pool.js';
import {
  cloneJob,
  createJob,
  enableJob,
  previewBackup,
  previewRestore,
  startCreation,
  startRollback,
  updateJob,
} from './scheduler.js';
import { createVerification } from './verification.js';

/**
 * What only the REST API has: bodies with secrets in clear (the gateway seals them), its own replies, and its problems.
 * Everything else of the API is the contract of the service that answers.
 */

/** In clear in a request, never in a reply, a problem or a log. */
export const secretSchema = z.string().min(1).max(1024).meta({ format: 'password', writeOnly: true });

export const signInBodySchema = z.object({
  userName: signIn.request.shape.userName,
  password: secretSchema,
  /** Also sets the session as an HttpOnly, SameSite=Strict cookie, for browsers. */
  cookie: z.boolean().default(false),
});
export type SignInBody = z.input<typeof signInBodySchema>;

export const sessionSchema = z.object({
  /** Bearer token; shown this once. */
  token: z.string(),
  expiresAt: instantSchema,
  principal: principalSchema,
});
export type Session = z.infer<typeof sessionSchema>;

export const newApiTokenBodySchema = z.object({
  name: createApiToken.request.shape.name,
  /** Null or absent: it does not expire. */
  expiresAt: instantSchema.nullable().default(null),
});
export type NewApiTokenBody = z.input<typeof newApiTokenBodySchema>;

export const createdApiTokenSchema = createApiToken.reply.extend({
  /** Bearer token; shown this once. */
  token: z.string(),
});
export type CreatedApiToken = z.infer<typeof createdApiTokenSchema>;

/** B1: the text of the file. */
export const newLicenceBodySchema = z.object({ licence: importLicence.request.shape.text });
export type NewLicenceBody = z.input<typeof newLicenceBodySchema>;

export const newPlatformBodySchema = z.object({
  name: registerPlatform.request.shape.name,
  ...platformConnectionSchema.shape,
  /** C1: 8080, or 8443 with `ssl`. */
  port: platformConnectionSchema.shape.port.optional(),
  password: secretSchema,
  diskService: diskServiceAccessSchema.extend({ token: secretSchema }),
});
export type NewPlatformBody = z.input<typeof newPlatformBodySchema>;

const [standardLocationSchema, objectLocationSchema] = poolLocationSchema.options;
const newPoolShape = { name: registerPlatform.request.shape.name };
export const newPoolBodySchema = z.discriminatedUnion('type', [
  z.object({ ...newPoolShape, type: z.literal('standard'), path: standardLocationSchema.shape.path }),
  z.object({
    ...newPoolShape,
    type: z.literal('object'),
    ...objectLocationSchema.omit({ kind: true }).shape,
    secretKey: secretSchema,
  }),
]);
export type NewPoolBody = z.input<typeof newPoolBodySchema>;

/** What overwrites or makes disks one at a time has routes of its own, which ask for what it takes. */
export const newJobBodySchema = createJob.request.omit({ id: true }).extend({
  definition: z.discriminatedUnion('kind', [
    backupDefinitionSchema,
    restoreDefinitionSchema,
    verifyDefinitionSchema,
    copyDefinitionSchema,
  ]),
});
export type NewJobBody = z.input<typeof newJobBodySchema>;
/** F6: as it is submitted after, without the code. */
export const restorePreviewBodySchema = previewRestore.request;
export type RestorePreviewBody = z.input<typeof restorePreviewBodySchema>;
/** F6: as it is saved after, without the code. */
export const backupPreviewBodySchema = previewBackup.request;
export type BackupPreviewBody = z.input<typeof backupPreviewBodySchema>;
export const jobBodySchema = newJobBodySchema.extend({ version: updateJob.request.shape.version });
export type JobBody = z.input<typeof jobBodySchema>;
export const jobEnablementBodySchema = enableJob.request.omit({ jobId: true });
export const jobCloneBodySchema = cloneJob.request.omit({ jobId: true, id: true });

export const rollbackBodySchema = startRollback.request.omit({ id: true, pointId: true });
export type RollbackBody = z.input<typeof rollbackBodySchema>;

/** F9. The disk of the point stands in the path. */
export const newVolumeBodySchema = creationTargetSchema.options[0]
  .omit({ kind: true, target: true })
  .extend(startCreation.request.pick({ group: true, parallel: true, network: true, options: true }).shape);
export type NewVolumeBody = z.input<typeof newVolumeBodySchema>;
/** F9. */
export const newImageBodySchema = creationTargetSchema.options[1]
  .omit({ kind: true })
  .extend(startCreation.request.pick({ group: true, parallel: true, network: true, options: true }).shape);
export type NewImageBody = z.input<typeof newImageBodySchema>;

export const newDeletionBodySchema = z
  .object({
    pointIds: removedPointsSchema.optional(),
    chainId: chainIdSchema.optional(),
    mode: deletionModeSchema.default('cascade'),
  })
  .refine(namesPointsOrChain, 'exactly one of pointIds and chainId');

export const verificationBodySchema = createVerification.request.omit({
  verificationId: true,
  pointId: true,
});

export const holdBodySchema = z.object({ reason: holdReasonSchema });

/** One field of a request that breaks a rule. `value` is absent for secrets, and for what is no plain value. */
export const fieldErrorSchema = z.object({
  /** `definition.vmIds.0`; `Idempotency-Key` and the like for headers. */
  field: z.string(),
  rule: z.string(),
  value: z.union([z.string(), z.number(), z.boolean(), z.null()]).optional(),
});
export type FieldError = z.infer<typeof fieldErrorSchema>;

/** RFC 9457 problem details: the body of every reply from 400 on, as `application/problem+json`. */
export const problemSchema = z.object({
  /** `urn:casvault:problem:<code>` */
  type: z.string(),
  title: z.string(),
  status: z.number().int().min(400).max(599),
  detail: z.string(),
  /** The path that was asked. */
  instance: z.string(),
  code: faultSchema.shape.code,
  /** Plain values that go with the code. */
  details: faultSchema.shape.details,
  /** With INPUT_INVALID: every field that is wrong. */
  errors: z.array(fieldErrorSchema).optional(),
  /** To find the request in traces and logs. */
  traceId: z.string(),
});
export type Problem = z.infer<typeof problemSchema>;
