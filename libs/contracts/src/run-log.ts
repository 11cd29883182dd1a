import { z } from 'zod';
import { bilingualSchema } from './alert.js';
import { defineQuery, instantSchema, pageOf, pageRequestSchema } from './define.js';
import { runIdSchema, runItemIdSchema } from './ids.js';
import { reasonCodeSchema } from './reason.js';

/** The closed list of what a run's log tells; `{name}` stands for a parameter of the line, `{reason}` for the words of its reason. */
export const runLogTexts = {
  RUN_BEGAN: { en: 'the run began with {items} VMs', 'zh-CN': '运行已开始，共 {items} 个虚拟机' },
  RUN_STOPPING: { en: 'the run is being stopped', 'zh-CN': '正在停止运行' },
  RUN_SUCCEEDED: { en: 'the run succeeded', 'zh-CN': '运行成功' },
  RUN_PARTLY_FAILED: { en: 'the run failed for some of its VMs', 'zh-CN': '运行部分失败' },
  RUN_FAILED: { en: 'the run failed', 'zh-CN': '运行失败' },
  RUN_STOPPED: { en: 'the run was stopped', 'zh-CN': '运行已停止' },
  RUN_SKIPPED: { en: '{reason}', 'zh-CN': '{reason}' },
  RUN_MISSED: { en: '{reason}', 'zh-CN': '{reason}' },
  RUN_GIVEN_UP: { en: '{reason}', 'zh-CN': '{reason}' },
  HOOK_ASKED: { en: '{hook}: asked of the backup hosts', 'zh-CN': '{hook}：已交给备份主机' },
  HOOK_BEGAN: { en: '{hook}: began', 'zh-CN': '{hook}：开始执行' },
  HOOK_REASON: { en: '{hook}: {reason}', 'zh-CN': '{hook}：{reason}' },
  HOOK_OUTPUT: { en: '{hook}: | {line}', 'zh-CN': '{hook}：| {line}' },
  HOOK_OUTPUT_CUT: {
    en: '{hook}: {bytes} bytes of output before this are not kept',
    'zh-CN': '{hook}：此前的 {bytes} 字节输出未保留',
  },
  HOOK_SUCCEEDED: { en: '{hook}: succeeded', 'zh-CN': '{hook}：成功' },
  HOOK_FAILED: { en: '{hook}: failed: {code}: {message}', 'zh-CN': '{hook}：失败：{code}：{message}' },
  HOOK_STOPPED: { en: '{hook}: stopped', 'zh-CN': '{hook}：已停止' },
  RUN_NOT_BEGUN: {
    en: 'the run could not begin: {code}: {message}',
    'zh-CN': '运行无法启动：{code}：{message}',
  },
  VM_TRIED_AGAIN: {
    en: 'tried again, attempt {attempt}, from {at} on',
    'zh-CN': '将于 {at} 起进行第 {attempt} 次尝试',
  },
  VM_ADMITTED: { en: 'its turn has come', 'zh-CN': '开始处理' },
  VM_PHASE: { en: '{phase}', 'zh-CN': '进入阶段 {phase}' },
  /** Something was done otherwise. */
  VM_REASON: { en: '{reason}', 'zh-CN': '{reason}' },
  VM_SUCCEEDED: {
    en: 'succeeded: {doneBytes} bytes read, {storedBytes} stored',
    'zh-CN': '成功：读取 {doneBytes} 字节，存储 {storedBytes} 字节',
  },
  VM_SKIPPED: { en: 'skipped, as the job says', 'zh-CN': '按作业设置跳过' },
  VM_FAILED: { en: 'failed: {code}: {message}', 'zh-CN': '失败：{code}：{message}' },
  VM_STOPPED: { en: 'stopped', 'zh-CN': '已停止' },
} as const satisfies Record<string, { en: string; 'zh-CN': string }>;
export type RunLogCode = keyof typeof runLogTexts;

export const runLogLevelSchema = z.enum(['info', 'warn', 'error']);
export type RunLogLevel = z.infer<typeof runLogLevelSchema>;

export const runLogLineSchema = z.object({
  /** Rises by the line, within the run. */
  seq: z.number().int().min(1),
  at: instantSchema,
  level: runLogLevelSchema,
  /** Null: the line is about the run. */
  itemId: runItemIdSchema.nullable(),
  vmName: z.string().nullable(),
  code: z.enum(Object.keys(runLogTexts) as [RunLogCode, ...RunLogCode[]]),
  reason: reasonCodeSchema.nullable(),
  params: z.record(z.string(), z.union([z.string(), z.number()])),
  text: bilingualSchema,
});
export type RunLogLine = z.infer<typeof runLogLineSchema>;

/** Oldest first. */
export const listRunLog = defineQuery('scheduler', 'list-run-log', 1, {
  request: pageRequestSchema.extend({
    runId: runIdSchema,
    /** Only lines behind this one: to follow a run that goes on. */
    after: z.coerce.number().int().min(0).optional(),
    /** Of this VM alone. */
    itemId: runItemIdSchema.optional(),
    /** Lines of this level and above. */
    level: runLogLevelSchema.optional(),
  }),
  reply: pageOf(runLogLineSchema).extend({
    /** Lines about VMs that were not kept: a run keeps 50,000. */
    dropped: z.number().int().min(0),
  }),
});
