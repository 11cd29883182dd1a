import { z } from 'zod';
import { releases, releaseTraits, type Release } from '../platform/release.js';
import { type Shape } from '../rest/shape.js';

/** Replies that no CVM should send, for clients that must survive them. */
export const wrongShapes = ['web-page', 'cut-short', 'other-object', 'server-error'] as const;

/** How the emulated CVM behaves; changed while it runs through the lab's own interface. */
export const settingsSchema = z.object({
  release: z.enum(releases),
  /** Undefined: as the release does. */
  stringValues: z.boolean().optional(),
  singleAsObject: z.boolean().default(true),
  /** Whether the digest challenge offers `qop="auth"`. */
  digestQop: z.boolean().default(true),
  /** Before every reply. */
  latencyMs: z.number().int().min(0).max(60_000).default(0),
  /** Before the work of every task begins. */
  taskDelayMs: z.number().int().min(0).max(600_000).default(0),
  /** How long a task waits for a guest to shut down. */
  guestStopMs: z.number().int().min(0).max(600_000).default(60_000),
  wrongShape: z.enum(wrongShapes).nullable().default(null),
  /** Whether `vmList` has templates too (`status` 0), not only `vmTemplateList`: not known of a CVM. */
  templatesInVmList: z.boolean().default(false),
  /** What cpuModel says; a Kunpeng makes an arm platform of it. */
  cpuModel: z.string().nullable().default(null),
});
export type Settings = z.infer<typeof settingsSchema>;

export const initialSettings = (release: Release): Settings => settingsSchema.parse({ release });

export const shapeOf = (settings: Settings): Shape => ({
  stringValues: settings.stringValues ?? releaseTraits[settings.release].stringValues,
  singleAsObject: settings.singleAsObject,
});
