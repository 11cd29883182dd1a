import { z } from 'zod';

/**
 * The closed list of reason codes: every fallback, skip, wait and retry of a run names one (G15). Shown in both languages.
 */
export const reasons = {
  FULL_FIRST_POINT: { en: 'first point of its chain: full', 'zh-CN': '备份链的第一个时间点：完全备份' },
  CAPTURE_LIVE: {
    en: 'running VM: live point-in-time export of all disks',
    'zh-CN': '虚拟机运行中：所有硬盘在同一时刻在线导出',
  },
  CAPTURE_OFFLINE: {
    en: 'stopped VM: its disks are read as they are',
    'zh-CN': '虚拟机已关闭：直接读取硬盘',
  },
  VM_PAUSED: { en: 'a paused VM is not backed up (R11)', 'zh-CN': '已暂停的虚拟机不备份 (R11)' },
  VM_STATE_UNKNOWN: {
    en: 'the platform does not know the state of the VM',
    'zh-CN': '平台无法确定虚拟机状态',
  },
  VM_MIGRATING: {
    en: 'a migrating VM is not backed up; retried later (R11)',
    'zh-CN': '正在迁移的虚拟机不备份，稍后重试 (R11)',
  },
  DISK_UNSUPPORTED: { en: 'disk of a kind that cannot be read', 'zh-CN': '硬盘类型不支持' },
  MAP_UNAVAILABLE: {
    en: 'no map of allocated data: the whole disk is read (R12)',
    'zh-CN': '无法获取有效数据位图：读取整个硬盘 (R12)',
  },
  BITMAP_UNAVAILABLE: {
    en: 'no usable dirty bitmap: all data is read and compared with the parent',
    'zh-CN': '没有可用的脏位图：读取全部数据并与父时间点比较',
  },
  WORKER_LOST: {
    en: 'the mover was lost; another goes on from its checkpoint',
    'zh-CN': '备份主机失联；由另一台从检查点继续',
  },
  CAPTURE_LOST_RESTARTED: { en: 'the capture was lost; captured anew', 'zh-CN': '捕获丢失；已重新捕获' },
  POWER_ON_FAILED: {
    en: 'restored, but the platform could not power the VM on',
    'zh-CN': '已恢复，但平台未能启动虚拟机',
  },
  WAITING_FOR_WORKER: { en: 'waiting for a free mover', 'zh-CN': '等待空闲的备份主机' },
} as const satisfies Record<string, { en: string; 'zh-CN': string }>;
export type ReasonCode = keyof typeof reasons;
export const reasonCodeSchema = z.enum(Object.keys(reasons) as [ReasonCode, ...ReasonCode[]]);
