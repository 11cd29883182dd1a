import { type RunDetail } from '@casvault/contracts';
import { inspectWitnessFiles } from '@casvault/testkit';
import { type Account, formatBytes, formatSeconds } from './progress.js';
import { type Stack } from './stack.js';
import { sameDisk, Trial } from './trial.js';

const sum = (run: RunDetail, field: 'doneBytes' | 'storedBytes' | 'totalBytes'): number =>
  run.items.flatMap((item) => item.progress).reduce((total, disk) => total + (disk[field] ?? 0), 0);

const showRun = (account: Account, label: string) => {
  const begun = performance.now();
  return (run: RunDetail): void => {
    const done = sum(run, 'doneBytes');
    const speed = (done / (performance.now() - begun)) * 1000;
    account.bar(label, done, sum(run, 'totalBytes'), `${formatBytes(done)}  ${formatBytes(speed)}/s`);
  };
};

const insist = (run: RunDetail): RunDetail => {
  const fault = run.items.find((item) => item.fault !== null)?.fault;
  if (run.state !== 'succeeded')
    throw new Error(`the run ended ${run.state}: ${fault?.message ?? 'no reason was given'}`);
  return run;
};

/**
 * The product's main job, for real: backs up a running VM of two disks under live writes, restores it as a new VM on another
 * host, and compares every disk with an independent copy of the captured instant. False when a byte differs.
 */
export const demonstrate = async (stack: Stack, account: Account): Promise<boolean> => {
  const trial = await Trial.begin(stack);
  try {
    return await demonstrateWith(trial, account);
  } finally {
    await trial.end();
  }
};

const demonstrateWith = async (trial: Trial, account: Account): Promise<boolean> => {
  const { lab, api } = trial;
  const platform = await account.step(`registered the CAS at ${lab.cvm.address}:${lab.cvm.port}`, () =>
    trial.platform(),
  );
  const vm = await trial.vm(platform, 'lab-db-01');
  const pool = await trial.standardPool();
  account.line(
    `   CAS ${platform.version}, ${lab.hosts.length} hosts; ${vm.name} runs on ${vm.hostName}; pool ${pool.path}`,
  );
  for (const disk of vm.disks)
    account.line(`   ${disk.target}  ${formatBytes(disk.sizeBytes)} ${disk.format}  ${disk.path}`);

  const labVm = lab.vms.find((one) => one.uuid === vm.uuid);
  const before = labVm === undefined ? null : await lab.admin.workload(labVm.id);
  account.line();
  const backup = insist(
    await account.step('backed up while the guest writes', () =>
      trial.backUp(vm, pool.id, showRun(account, 'backup')),
    ),
  );
  const after = labVm === undefined ? null : await lab.admin.workload(labVm.id);
  const point = await api.getPoint(backup.items[0]?.pointId ?? ('' as never));
  const read = sum(backup, 'doneBytes');
  const stored = sum(backup, 'storedBytes');
  account.line(
    `   read ${formatBytes(read)}, stored ${formatBytes(stored)}; captured ${point.capturedAt ?? '?'} (${point.method ?? '?'})`,
  );
  if (before !== null && after !== null)
    account.line(`   meanwhile the guest wrote ${after.pairs - before.pairs} numbered pairs`);

  const target = lab.hosts[1] ?? lab.hosts[0];
  const name = `lab-db-01-restored-${Date.now().toString(36)}`;
  account.line();
  const restore = insist(
    await account.step(`restored as ${name} on ${target?.name ?? '?'}`, () =>
      trial.restore(point, platform, String(target?.id), name, showRun(account, 'restore')),
    ),
  );
  await api.syncPlatform(platform.id);
  const restored = await api.getVm(restore.items[0]?.restoredVmId ?? ('' as never));

  account.line();
  return account.step('compared with an independent copy of the captured instant', async () => {
    const reference = await trial.referenceOf(point);
    let equal = true;
    for (const disk of restored.disks) {
      const raw = reference.get(disk.target) ?? '';
      const same = await sameDisk({ path: raw, format: 'raw' }, disk);
      account.line(`   ${disk.target}  ${same ? 'equal, byte for byte' : 'DIFFERS'}  ${disk.path}`);
      equal &&= same;
    }
    const witness = await inspectWitnessFiles(reference.get('vda') ?? '', reference.get('vdb') ?? '');
    account.line(`   ${witness.verdict}`);
    return equal && witness.oneInstant;
  });
};

/** The demo's whole account, from an address to a verdict. */
export const runDemo = async (stack: Stack, startMs: number, account: Account): Promise<boolean> => {
  account.line(` ✓ the stack serves ${stack.gatewayUrl}/api/v1 (${formatSeconds(startMs)})`);
  const equal = await demonstrate(stack, account);
  account.line();
  account.line(
    equal
      ? 'Every disk equals the captured instant.'
      : 'NOT EQUAL: the restored VM differs from the captured instant.',
  );
  return equal;
};
