import { z } from 'zod';
import { bytesSchema, instantSchema } from './define.js';
import { faultSchema } from './fault.js';
import { runIdSchema } from './ids.js';
import { reasonCodeSchema } from './reason.js';

/** What a job does around its runs, on a backup host: a precondition asked before, a script before the first capture, one after the last VM. */
export const hookKindSchema = z.enum(['precondition', 'pre', 'post']);
export type HookKind = z.infer<typeof hookKindSchema>;

const secondsSchema = (most: number, usual: number) => z.number().int().min(1).max(most).default(usual);

const commandShape = {
  /** A file of the script folder of the backup hosts: never a path. */
  script: z
    .string()
    .regex(
      /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/,
      "must be the bare name of a script: letters, digits, '_', '-' and '.', at most 128, beginning with none of '-' and '.'",
    ),
  /** Given to it one by one, as they are: no shell reads them. */
  arguments: z
    .array(
      z
        .string()
        .max(1_024)
        .regex(/^\P{Cc}*$/u, 'must have no control characters'),
    )
    .max(32)
    .default([]),
};

const isPlainUrl = (text: string): boolean => {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url !== null && /^https?:$/.test(url.protocol) && url.username + url.password + url.hash === '';
};

const httpCheckSchema = z.object({
  type: z.literal('http'),
  method: z.enum(['GET', 'HEAD']).default('GET'),
  /** Redirections are not followed: their status is what is judged. */
  url: z
    .string()
    .max(2_048)
    .refine(isPlainUrl, 'must be an http or https URL without a user, a password and a fragment'),
  /** Absent: 200 to 299. */
  expectStatus: z.array(z.number().int().min(200).max(599)).min(1).max(16).optional(),
  timeoutSeconds: secondsSchema(600, 60),
});

/** Holds when the command ends with 0, or the answer has a status that is expected, within the time limit. */
export const preconditionSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('command'), ...commandShape, timeoutSeconds: secondsSchema(600, 60) }),
  httpCheckSchema,
]);

/** Has succeeded when it ends with 0 within the time limit. */
const scriptSchema = z.object({ ...commandShape, timeoutSeconds: secondsSchema(3_600, 300) });
export const scriptsSchema = z.object({
  /** After the run has begun, before any VM of it is touched. Its failure fails the run. */
  pre: scriptSchema.optional(),
  /** After the last VM of every run that has begun, however it went. Its failure is a warning. */
  post: scriptSchema.optional(),
});

export const hookActionSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('command'), ...commandShape, timeoutSeconds: secondsSchema(3_600, 300) }),
  httpCheckSchema,
]);
export type HookAction = z.infer<typeof hookActionSchema>;

/** Everything that a backup host needs to carry out a hook of a run. */
export const hookSpecSchema = z.object({
  kind: z.literal('hook'),
  hook: hookKindSchema,
  runId: runIdSchema,
  action: hookActionSchema,
  /** What its environment tells of the run, by the names of variables. Linux takes at most 128 KiB of one. */
  facts: z.record(z.string().regex(/^CASVAULT_[A-Z0-9_]{1,48}$/), z.string().max(65_536)),
  /** Nobody has begun it for so long: it fails. */
  waitMinutes: z.number().int().min(1).max(1_440),
});
export type HookSpec = z.infer<typeof hookSpecSchema>;

/** What is kept of what a script writes. */
export const hookOutputLimits = { bytes: 65_536, lines: 500, lineLength: 1_000 } as const;

/** How a hook that was carried out has ended. */
export const hookResultSchema = z.object({
  /** Null: well. Else what was wrong: how it ended, or that it ran out of time. */
  fault: faultSchema.nullable(),
  /** Null: it did not end by itself, or is no command. */
  exitCode: z.number().int().nullable(),
  httpStatus: z.number().int().nullable(),
  /** The last lines of its standard output and error, without control characters. */
  output: z.array(z.string().max(hookOutputLimits.lineLength + 1)).max(hookOutputLimits.lines),
  /** Of output before those lines. */
  droppedBytes: bytesSchema,
});
export type HookResult = z.infer<typeof hookResultSchema>;

/** A hook of a run, as the run shows it; its output is in the run's log. */
export const runHookSchema = z.object({
  hook: hookKindSchema,
  state: z.enum(['queued', 'running', 'succeeded', 'failed', 'stopped']),
  /** Why it waits, or was asked again. */
  reasons: z.array(reasonCodeSchema),
  /** How it ended otherwise than well. */
  fault: faultSchema.nullable(),
  exitCode: z.number().int().nullable(),
  httpStatus: z.number().int().nullable(),
  askedAt: instantSchema,
  startedAt: instantSchema.nullable(),
  finishedAt: instantSchema.nullable(),
});
export type RunHook = z.infer<typeof runHookSchema>;
