import { z } from 'zod';
import { defineEvent, defineQuery, instantSchema, pageOf, pageRequestSchema } from './define.js';
import { faultSchema } from './fault.js';
import { alertChannelIdSchema, alertIdSchema, jobIdSchema, runIdSchema } from './ids.js';
import { reasonCodeSchema } from './reason.js';

/** H3: what alerts tell of. A run raises at most one of each kind. */
export const alertKindSchema = z.enum([
  'run-failed',
  'run-partly-failed',
  /** D7: due while the last run of the job went on. */
  'run-skipped',
  /** D7: nobody was there when it was due. */
  'run-missed',
  /** `cbt.fallback` is `skip-alert`: VMs without valid CBT were not backed up. Comes beside the alert of the run. */
  'vm-skipped',
]);
export type AlertKind = z.infer<typeof alertKindSchema>;

/** `error`: it failed, or nobody was there to do it; `warning`: it was left out, as the job and its rules say. */
export const alertSeveritySchema = z.enum(['warning', 'error']);
export type AlertSeverity = z.infer<typeof alertSeveritySchema>;

export const bilingualSchema = z.object({ en: z.string(), 'zh-CN': z.string() });
export type Bilingual = z.infer<typeof bilingualSchema>;

export const alertSchema = z.object({
  /** The same for the same occurrence, however often it is told. */
  id: alertIdSchema,
  kind: alertKindSchema,
  severity: alertSeveritySchema,
  jobId: jobIdSchema,
  jobName: z.string(),
  runId: runIdSchema,
  /** Of the VMs concerned the first 100; `vmCount` says how many there are. */
  vmNames: z.array(z.string()).max(100),
  vmCount: z.number().int().min(0),
  reasons: z.array(reasonCodeSchema),
  /** Why it failed; of several VMs that did, the first one's. */
  fault: faultSchema.nullable(),
  text: bilingualSchema,
  /** When the run ended. */
  at: instantSchema,
});
export type Alert = z.infer<typeof alertSchema>;

/** Published once an alert is kept, at least once; receivers know it again by its id. */
export const alertRaised = defineEvent('scheduler', 'alert-raised', 1, { payload: alertSchema });

/** What a webhook is sent, as JSON. */
export const alertNoticeSchema = z.object({
  event: z.enum(['alert-raised', 'test']),
  text: bilingualSchema,
  at: instantSchema,
  /** Null with a test. */
  alert: alertSchema.nullable(),
});
export type AlertNotice = z.infer<typeof alertNoticeSchema>;

/** What became of an alert at one channel. */
export const alertDeliverySchema = z.object({
  channelId: alertChannelIdSchema,
  channelName: z.string(),
  /** `given up`: tried for hours in vain, and not tried any more. */
  state: z.enum(['waiting', 'delivered', 'given up']),
  attempts: z.number().int().min(0),
  /** Why the last attempt failed; of an e-mail that was delivered, the recipients that were refused. */
  error: z.string().nullable(),
  nextAttemptAt: instantSchema.nullable(),
  deliveredAt: instantSchema.nullable(),
});
export type AlertDelivery = z.infer<typeof alertDeliverySchema>;

export const alertViewSchema = alertSchema.extend({
  acknowledgedAt: instantSchema.nullable(),
  acknowledgedBy: z.string().nullable(),
  deliveries: z.array(alertDeliverySchema),
});
export type AlertView = z.infer<typeof alertViewSchema>;

/** Newest first. */
export const listAlerts = defineQuery('scheduler', 'list-alerts', 1, {
  request: pageRequestSchema.extend({
    kind: alertKindSchema.optional(),
    severity: alertSeveritySchema.optional(),
    jobId: jobIdSchema.optional(),
    runId: runIdSchema.optional(),
    /** `open`: nobody has acknowledged it yet. */
    state: z.enum(['open', 'acknowledged']).optional(),
  }),
  reply: pageOf(alertViewSchema),
});
/** By the actor. Idempotent: whoever was first stays. */
export const acknowledgeAlert = defineQuery('scheduler', 'acknowledge-alert', 1, {
  request: z.object({ alertId: alertIdSchema }),
  reply: alertViewSchema,
});
