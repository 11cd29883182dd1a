import { type DiskProgress } from '@casvault/contracts';

const reportEveryMs = 500;

/** Reports at most twice a second, and once at the end when `stop` is called. */
export function reportProgress(
  read: () => readonly DiskProgress[],
  onProgress: ((progress: DiskProgress[]) => void) | undefined,
): { readonly stop: () => void } {
  if (onProgress === undefined) return { stop: () => undefined };
  const report = (): void => {
    onProgress(read().map((disk) => ({ ...disk })));
  };
  const timer = setInterval(report, reportEveryMs);
  return {
    stop: () => {
      clearInterval(timer);
      report();
    },
  };
}
