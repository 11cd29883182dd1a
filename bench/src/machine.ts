import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** The kernel counts CPU in hundredths of a second. */
const ticksPerSecond = 100;

/** CPU seconds that all cores together were busy since the machine's start. */
export function busyCpuS(): number {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]!;
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / ticksPerSecond;
}

/** CPU seconds of a running process and of those of its children that have ended. */
export function processCpuS(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
  return (user + system + childUser + childSystem) / ticksPerSecond;
}

/** MiB that a process has read from disks since its start. */
export function diskReadMiB(pid: number): number {
  return Number(/^read_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1] ?? NaN) / 2 ** 20;
}

/** Most memory that a process held since its start or the last `forgetPeak`, MiB. */
export function peakRssMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? NaN) / 1024;
}

export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** Waits until other processes take less than a tenth of the machine, at most `patienceS` seconds. */
export async function untilQuiet(patienceS: number): Promise<void> {
  const look = 0.5;
  for (let waited = 0; waited < patienceS; waited += look) {
    const before = busyCpuS();
    await sleep(look * 1000);
    if (busyCpuS() - before < 0.1 * look * availableParallelism()) return;
  }
}

/** What ran the benchmark, without a name that tells where. */
export function describeMachine(): string {
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  return `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown model'}), ${memory} GiB RAM`;
}
