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
  CAPTURE_INTERNAL_SNAPSHOT: {
    en: 'running VM: read from an internal snapshot of the platform',
    'zh-CN': '虚拟机运行中：从平台内部快照读取',
  },
  CAPTURE_EXTERNAL_SNAPSHOT: {
    en: 'running VM: read from below an external snapshot of the platform',
    'zh-CN': '虚拟机运行中：从平台外部快照的底层读取',
  },
  CAPTURE_POWERED_OFF: {
    en: 'running VM with disks that cannot be captured online: shut down for the backup, started again after it (R6)',
    'zh-CN': '运行中的虚拟机含无法在线捕获的硬盘：备份时关机，之后重新启动 (R6)',
  },
  POWER_OFF_NEEDED: {
    en: 'disks that cannot be captured online, and the job does not allow to shut the VM down (R6)',
    'zh-CN': '含无法在线捕获的硬盘，而作业不允许关闭虚拟机 (R6)',
  },
  SHUTDOWN_FAILED: {
    en: 'the guest did not shut down in time: not backed up, left as it was',
    'zh-CN': '虚拟机未能按时关机：未备份，保持原状',
  },
  DISK_ENCRYPTED: { en: 'an encrypted disk is not backed up (R2)', 'zh-CN': '加密硬盘不备份 (R2)' },
  DISK_LEFT_OUT: {
    en: 'an independent disk is not in an external snapshot: the point does not hold it (R4)',
    'zh-CN': '独立硬盘不在外部快照中：时间点不包含该硬盘 (R4)',
  },
  DISK_NOT_CHOSEN: {
    en: 'the job does not name this disk: the point does not hold it',
    'zh-CN': '作业未选择该硬盘：时间点不包含该硬盘',
  },
  RESTART_NEEDED: {
    en: 'a disk without hot plug was added since the last boot: restart the VM first (R10)',
    'zh-CN': '自上次启动后添加了不支持热插拔的硬盘：请先重启虚拟机 (R10)',
  },
  INCREMENTAL_UNSUPPORTED: {
    en: 'this release has no incremental backup of a running VM (R8)',
    'zh-CN': '该版本不支持运行中虚拟机的增量备份 (R8)',
  },
  CBT_UNSUPPORTED: {
    en: 'the disk cannot have changed block tracking: read in full (R5)',
    'zh-CN': '硬盘不支持 CBT：读取全部数据 (R5)',
  },
  CBT_DISABLED: { en: 'CBT is switched off in the job', 'zh-CN': '作业未启用 CBT' },
  BITMAP_MISSING: {
    en: 'the bitmap of the last point is gone: the disk is read in full and compared',
    'zh-CN': '上一时间点的位图不存在：读取整个硬盘并比较',
  },
  BITMAP_INCONSISTENT: {
    en: 'the bitmap was not saved cleanly: the disk is read in full and compared (R7)',
    'zh-CN': '位图未正常保存：读取整个硬盘并比较 (R7)',
  },
  BITMAP_LINEAGE_UNPROVEN: {
    en: 'the bitmap is not proven to begin at the last point: the disk is read in full and compared',
    'zh-CN': '无法证明位图起始于上一时间点：读取整个硬盘并比较',
  },
  BITMAP_FOREIGN_LAYER: {
    en: 'a snapshot of somebody else lies over the bitmap: the disk is read in full and compared',
    'zh-CN': '位图上存在他人创建的快照层：读取整个硬盘并比较',
  },
  DISK_RESIZED: {
    en: 'the disk has another size than at the last point: read in full and compared',
    'zh-CN': '硬盘大小与上一时间点不同：读取整个硬盘并比较',
  },
  DISK_ADDED: {
    en: 'the disk was not in the last point: read in full',
    'zh-CN': '上一时间点不含该硬盘：读取全部数据',
  },
  CHAIN_IN_DELETION: {
    en: 'points of the newest chain were being deleted for too long: a new full',
    'zh-CN': '最新备份链的时间点长时间处于删除中：重新完全备份',
  },
  RESTORED_SINCE: {
    en: 'the VM was restored since the last point: a new full (R14)',
    'zh-CN': '上一时间点之后虚拟机被恢复过：重新完全备份 (R14)',
  },
  CHAIN_DAMAGED: {
    en: 'a verification found damage in the chain, which the next point would share: a new full',
    'zh-CN': '校验发现备份链损坏，后续时间点会共享损坏数据：重新完全备份',
  },
  TRACKER_WRONG: {
    en: 'a block that the bitmap called unchanged had changed: the disk was compared in full',
    'zh-CN': '位图标记为未变的数据块已变化：已对整个硬盘比较',
  },
  RESERVE_TOO_SMALL: {
    en: 'a data store that the VM uses has less free than the job asks for: not backed up',
    'zh-CN': '虚拟机使用的存储剩余空间低于作业要求：未备份',
  },
  RESERVE_UNKNOWN: {
    en: 'the platform does not tell in which data store a disk lies, or what is free there: not checked',
    'zh-CN': '平台未提供硬盘所在存储或其剩余空间：未检查',
  },
  GUEST_NOT_FROZEN: {
    en: 'the guest was not frozen (no agent, or it refused): consistent as after a power cut',
    'zh-CN': '未能冻结客户机文件系统（无代理或被拒绝）：崩溃一致',
  },
  SKIPPED_WITHOUT_CBT: {
    en: 'no valid CBT, and the job says to skip such VMs',
    'zh-CN': '无有效 CBT，作业设置为跳过',
  },
  SKIPS_SILENTLY: {
    en: 'VMs without valid CBT are passed over without an error and without an alert: nothing but the run tells that they are not protected',
    'zh-CN': '无有效 CBT 的虚拟机将被跳过，不报错也不告警：只有执行记录显示其未受保护',
  },
  POINT_SUSPECT: {
    en: 'made by a tracker that was found wrong later: verify it, or rely on a newer point',
    'zh-CN': '由之后被发现出错的位图生成：请校验，或使用更新的时间点',
  },
  ROLLED_BACK_BY_COMPARISON: {
    en: 'no usable bitmap: all blocks were compared, those that differ written',
    'zh-CN': '没有可用位图：比较全部数据块，仅写入不同部分',
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
  UEFI_NOTICE: {
    en: 'the guest boots by UEFI, which the platform does not take when a VM is made: set its boot firmware by hand before it starts (S5)',
    'zh-CN': '客户机使用 UEFI 启动，平台创建虚拟机时无法设置：请在启动前手动设置引导固件 (S5)',
  },
  MAY_CLASH: {
    en: 'the source VM still exists: the IP addresses of both may clash (S6)',
    'zh-CN': '源虚拟机仍存在：两者的 IP 地址可能冲突 (S6)',
  },
  OVERWRITES_VM: {
    en: 'a VM of that name is overwritten: its disks are detached and kept, its networks stay',
    'zh-CN': '同名虚拟机将被覆盖：其原有硬盘被卸载并保留，网络不变',
  },
  OVERWRITES_ORIGINAL: {
    en: 'the original VM is overwritten with its saved configuration: its disks are detached and kept, its snapshots and hibernation state are dropped',
    'zh-CN': '原虚拟机将按备份时的配置被覆盖：其原有硬盘被卸载并保留，其快照和休眠状态将丢失',
  },
  ORIGINAL_MADE_ANEW: {
    en: 'the original VM is no longer on the platform: it is made anew with its saved configuration, and its jobs go on with it',
    'zh-CN': '平台上已无原虚拟机：将按备份时的配置重新创建，其作业随之继续',
  },
  MAC_KEPT: {
    en: 'the network cards have the MAC addresses that they had at the point',
    'zh-CN': '网卡保留时间点中的 MAC 地址',
  },
  MAC_NEW: {
    en: 'the platform gives the network cards new MAC addresses: what is bound to the old ones (DHCP, licences) may not fit',
    'zh-CN': '平台为网卡分配新的 MAC 地址：与原地址绑定的内容（DHCP、许可证）可能不再匹配',
  },
  HEAD_OF_CHAIN: {
    en: 'the first point of the chain was removed: this one is its head now, complete by itself',
    'zh-CN': '备份链的第一个时间点已删除：此时间点现为链首，自身完整',
  },
  REMOVAL_RETRIED: {
    en: 'the pool did not let the points go: removing them is tried again',
    'zh-CN': '存储池中的时间点数据未能删除：正在重试',
  },
  CHECKPOINT_LEFT: {
    en: 'deleted, but the bitmap of the newest point could not be removed from the VM: the next backup removes it',
    'zh-CN': '已删除，但未能移除虚拟机上最新时间点的位图：下次备份时移除',
  },
  POINT_DAMAGED: {
    en: 'the newest verification of the point found it damaged: what is damaged cannot be restored',
    'zh-CN': '最近一次校验发现该时间点已损坏：损坏的部分无法恢复',
  },
  PREVIOUS_RUN_GOES_ON: {
    en: 'skipped: the last run of the job went on when this one was due',
    'zh-CN': '已跳过：计划时间到达时，该作业的上一次运行仍在进行',
  },
  NOTHING_TO_BACK_UP: {
    en: 'skipped: the hosts of the job had no VM to back up, or all of them are left out',
    'zh-CN': '已跳过：作业所选主机没有可备份的虚拟机，或全部被排除',
  },
  NOTHING_TO_VERIFY: {
    en: 'skipped: the pool has no available point that the job names',
    'zh-CN': '已跳过：存储池中没有作业所指定的可用时间点',
  },
  NOTHING_TO_COPY: {
    en: 'skipped: the target pool has every available point that the job names',
    'zh-CN': '已跳过：目标存储池中已有作业所指定的全部可用时间点',
  },
  PRECONDITION_NOT_MET: {
    en: 'given up: the precondition of the job does not hold',
    'zh-CN': '已放弃：作业的前置条件不满足',
  },
  SYSTEM_WAS_DOWN: {
    en: 'missed: nobody could begin the run when it was due, nor within the grace after it',
    'zh-CN': '已错过：计划时间到达时及宽限期内系统均无法启动该运行',
  },
  NETWORK_FALLBACK: {
    en: 'the host lacks the preferred network, or does not answer there: the management network carries the data (R16)',
    'zh-CN': '宿主机没有首选网络或在该网络上无响应：数据经管理网络传输 (R16)',
  },
  TRIED_AGAIN: {
    en: 'an earlier attempt failed for a passing cause: tried again',
    'zh-CN': '之前的尝试因暂时性原因失败：已重试',
  },
  WAITING_FOR_WORKER: { en: 'waiting for a free mover', 'zh-CN': '等待空闲的备份主机' },
} as const satisfies Record<string, { en: string; 'zh-CN': string }>;
export type ReasonCode = keyof typeof reasons;
export const reasonCodeSchema = z.enum(Object.keys(reasons) as [ReasonCode, ...ReasonCode[]]);
