import { chmod, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { changeDisk, type ChangedDisk } from './changed-disk.js';
import { runQuietly, touchMemory, writeBack } from './command.js';
import { makeDiskImage, type DiskImage } from './disk-image.js';
import { endings } from './endings.js';
import { EngineContestant, EngineProcess } from './engine.js';
import { type Contestant, type Figures, type Step } from './figures.js';
import { goalsOf, isMet, names } from './goals.js';
import { measureLargeDisk } from './large-disk.js';
import { limitsOf } from './limits.js';
import { describeMachine, untilQuiet } from './machine.js';
import { type Options, parseOptions, usage } from './options.js';
import { Borg, NbdCopy, QemuImg, Restic } from './peers.js';
import { measurePrimitives, type Primitives, typical } from './primitives.js';
import { QemuJob } from './qemu-job.js';
import { report, type Outcome } from './report.js';
import { runRounds } from './rounds.js';
import { ServiceContestant } from './service.js';
import { VirtNbdBackup } from './virtnbdbackup.js';
import { WarmRescan } from './warm-rescan.js';

const repositoryRoot = fileURLToPath(new URL('../../../', import.meta.url));
const resultsFile = join(repositoryRoot, 'bench/RESULTS.md');
const gib = 2 ** 30;
/** The raw disk, its qcow2, both changed, one in a lab with its backup, eight repositories of two fifths each, a restored disk that holds every byte, a reserve. */
const spaceFor = (sizeBytes: number): number => sizeBytes * 11;
/** GiB of memory to touch before a step: about what the tool with the largest output dirties. */
const touched = (step: Step, sizeBytes: number): number =>
  ({ full: 0.5, rescan: 0.1, incremental: 0.1, unchanged: 0, restore: 1 })[step] * (sizeBytes / gib);

async function requireSpace(dir: string, sizeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const [free, needed] = [bavail * bsize, spaceFor(sizeBytes)];
  if (free < needed) {
    const show = (bytes: number): string => (bytes / gib).toFixed(1);
    throw new Error(`${dir} has ${show(free)} GiB free; this run needs ${show(needed)} GiB (--dir, --size)`);
  }
}

async function versions(): Promise<string[]> {
  const firstWords = async (command: string, ...args: string[]): Promise<string> =>
    (await runQuietly(command, ...args))
      .split('\n')[0]!
      .split(/[(,]| compiled/)[0]!
      .trim();
  return [
    `Node ${process.versions.node}`,
    await firstWords('qemu-img', '--version'),
    await firstWords('borg', '--version'),
    await firstWords('restic', 'version'),
    `virtnbdbackup ${await firstWords('virtnbdbackup', '--version')}`,
    await firstWords('nbdcopy', '--version'),
    await firstWords('b3sum', '--version'),
  ];
}

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

const showFigures = (round: number, name: string, step: Step, figures: Figures): void => {
  const { wallS, cpuS, serverCpuS, peakRssMiB, storedMiB, othersCpuS } = figures;
  const server = serverCpuS === null ? '' : ` + server ${serverCpuS.toFixed(1)} s`;
  const stored = storedMiB === null ? '' : `, ${storedMiB.toFixed(0)} MiB stored`;
  say(
    `round ${round}  ${step.padEnd(11)}  ${name.padEnd(34)}  ${wallS.toFixed(2).padStart(6)} s  CPU ${cpuS.toFixed(1)} s${server}, ` +
      `${peakRssMiB.toFixed(0)} MiB${stored}  (others ${othersCpuS.toFixed(1)} s)`,
  );
};

async function measure(
  options: Options,
  dir: string,
  disks: { image: DiskImage; changed: ChangedDisk },
): Promise<Outcome> {
  const { image, changed } = disks;
  const engine = EngineProcess.start();
  const casvault = new EngineContestant(engine, disks, dir);
  const borg = new Borg(disks, dir, false);
  const services = options.service ? await startServices(engine, image, dir) : null;
  const contestants: Contestant[] = [
    casvault,
    new WarmRescan(names.engineWarm, () => casvault.rescanWarm()),
    ...(services === null ? [] : [new EngineContestant(engine, disks, dir, { overTcp: true }), services]),
    borg,
    new WarmRescan(names.borgWarm, () => borg.rescanWarm()),
    new QemuImg(image, dir),
    new QemuJob(changed, dir),
    ...(services === null ? [] : [await VirtNbdBackup.start(services, image, dir)]),
    new NbdCopy(image, dir),
    new EngineContestant(engine, disks, dir, { encrypted: true }),
    new Borg(disks, dir, true),
    new Restic(image, dir),
  ];
  const primitives: Primitives[] = [];
  const records = await runRounds(contestants, options.rounds, {
    begin: async () => {
      await untilQuiet(options.patienceS);
      primitives.push(await measurePrimitives(image, dir));
    },
    settle: async (step) => {
      if (options.touch) await touchMemory(touched(step, options.sizeBytes));
      await writeBack();
      await untilQuiet(options.patienceS);
    },
    onFigures: showFigures,
  });
  await untilQuiet(options.patienceS);
  const large = options.large ? await measureLargeDisk(engine, dir, say) : null;
  const medians = typical(primitives);
  const limits = {
    plain: limitsOf(medians, image.dataBytes, options.cores, false),
    encrypted: limitsOf(medians, image.dataBytes, options.cores, true),
  };
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    command: ['make bench', ...describeArguments()].join(' '),
    versions: await versions(),
    rounds: options.rounds,
    disk: image,
    changed,
    contestants: contestants.map(({ name }) => name),
    records,
    primitives: medians,
    limits,
    goals: goalsOf(records, limits.plain.full, { dirtyBytes: changed.dirtyBytes, large }),
  };
}

async function startServices(
  engine: EngineProcess,
  image: DiskImage,
  dir: string,
): Promise<ServiceContestant> {
  say('starting all services and an emulated CAS');
  // The lab's hosts run as a user of their own.
  await chmod(dir, 0o755);
  return ServiceContestant.start(image, dir, [engine.pid]);
}

const describeArguments = (): string[] =>
  process.argv.length > 2 ? [`BENCH_ARGS="${process.argv.slice(2).join(' ')}"`] : [];

async function bench(options: Options): Promise<void> {
  await requireSpace(options.dir, options.sizeBytes);
  const dir = await mkdtemp(join(options.dir, 'casvault-bench-'));
  endings.add(() => rm(dir, { recursive: true, force: true }));
  say(`generating a disk of ${options.sizeBytes / gib} GiB in ${dir}`);
  const folders = [join(repositoryRoot, 'node_modules'), '/usr/lib', '/usr/bin', '/usr/share'];
  const image = await makeDiskImage({ dir, sizeBytes: options.sizeBytes, seed: options.seed, folders });
  const changed = await changeDisk(image, dir, options.seed);
  const outcome = await measure(options, dir, { image, changed });
  const text = report(outcome);
  if (options.writeResults) await writeFile(resultsFile, text);
  process.stdout.write(text);
  const missed = outcome.goals.filter((goal) => isMet(goal) === false).length;
  say(missed === 0 ? 'All figures of the first milestone are met.' : `${missed} figures are missed.`);
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    say(`${(error as Error).message}\n${usage}`);
    return 2;
  }
  try {
    await bench(options);
    return 0;
  } catch (error) {
    say(`bench: ${(error as Error).message}`);
    return 1;
  } finally {
    await endings.all();
  }
}

endings.onLeaving(say);
process.exitCode = await main();
