/** The first releases in which libvirt's backup jobs, and the bitmaps they count with, are on without being forced. */
const needed = { libvirt: [7, 6], qemu: [6, 1] } as const;

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [, at = '0', after = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(at) > major || (Number(at) === major && Number(after) >= minor);
}

/** Says whether running VMs can be captured with these versions; unknown ones can't. */
export const offersLiveExport = (libvirt: string, qemu: string): boolean =>
  isAtLeast(libvirt, needed.libvirt) && isAtLeast(qemu, needed.qemu);
