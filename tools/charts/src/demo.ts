import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { demoPlan, shellLine, sought, type DemoPlan, type Means } from './demo-plan.js';
import { chart, Helm, repositoryRoot } from './helm.js';
import { loadKubeTypes, typeProblems } from './kube-types.js';
import { manifestsOf } from './manifest.js';
import { policyProblems } from './policy.js';
import { passwordIn, smokeCheck } from './smoke.js';

const run = promisify(execFile);
const patienceMs = 120_000;

const answerOf = async (command: readonly string[]): Promise<string | null> => {
  const [program = '', ...args] = command;
  try {
    return (await run(program, args, { timeout: 15_000, maxBuffer: 16 * 1024 * 1024 })).stdout;
  } catch {
    return null;
  }
};

const meansHere = async (): Promise<Means> => {
  const programs: string[] = [];
  for (const program of sought)
    if ((await answerOf(['sh', '-c', `command -v ${program}`])) !== null) programs.push(program);
  const context = (await answerOf(['kubectl', 'config', 'current-context']))?.trim() ?? null;
  const isReachable =
    context !== null && (await answerOf(['kubectl', 'version', '--request-timeout=10s'])) !== null;
  return { context, isReachable, programs };
};

const runStep = async (command: readonly string[]): Promise<void> => {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { cwd: repositoryRoot, stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${shellLine(command)}: exit ${code ?? 'by a signal'}`);
};

/** Renders the chart with the values for a trial and holds every object against the types and the policy. */
const validate = async (helm: Helm): Promise<void> => {
  const values = [join(chart, 'values-trial.yaml')];
  await helm.lint(chart, values);
  const manifests = manifestsOf(await helm.template(chart, values));
  const types = await loadKubeTypes();
  const problems = [...manifests.flatMap((one) => typeProblems(one, types)), ...policyProblems(manifests)];
  if (problems.length > 0) throw new Error(problems.join('\n'));
  console.log(
    `The chart with values-trial.yaml: ${manifests.length} objects, all as Kubernetes and the policy want them.`,
  );
};

const smoke = async ({ forward, passwordLog }: DemoPlan): Promise<void> => {
  const password = passwordIn((await answerOf(passwordLog)) ?? '');
  if (password === null)
    throw new Error(
      'the log of licensing-auth does not tell the first password (any more): remove the namespace and begin anew',
    );
  const [program = '', ...args] = forward;
  const forwarding = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    for await (const line of createInterface({ input: forwarding.stdout })) {
      const port = /^Forwarding from 127\.0\.0\.1:(\d+) /.exec(line)?.[1];
      if (port === undefined) continue;
      await smokeCheck(`http://127.0.0.1:${port}`, password, (seen) => console.log(`   ${seen}`), patienceMs);
      return;
    }
    throw new Error(`${shellLine(forward)}: ended without a port`);
  } finally {
    forwarding.kill();
  }
};

/** `make demo-k8s`: see docs/kubernetes.md. Without a cluster or an engine, and when `isDry`, it checks and tells what it would run. */
export const demo = async (isDry: boolean): Promise<void> => {
  const helm = await Helm.find();
  const { appVersion } = parse(await readFile(join(chart, 'Chart.yaml'), 'utf8')) as { appVersion: string };
  const plan = demoPlan(await meansHere(), helm.path, appVersion);
  await validate(helm);
  const isRun = !isDry && plan.lacks.length === 0;
  if (!isRun) console.log(isDry ? 'Dry run: nothing is changed.' : `Dry run: ${plan.lacks.join('; ')}.`);
  for (const [index, { says, command }] of plan.steps.entries()) {
    console.log(`\n${index + 1}. ${says}\n   ${shellLine(command)}`);
    if (isRun) await runStep(command);
  }
  console.log(
    `\n${plan.steps.length + 1}. a smoke check over the API\n   ${shellLine(plan.passwordLog)}\n   ${shellLine(plan.forward)}`,
  );
  if (isRun) await smoke(plan);
};
