import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chart, Helm, repositoryRoot } from './helm.js';
import { list, manifestsOf, text } from './manifest.js';
import { containersOf, workloads } from './policy.js';

/** Instructions of a Dockerfile, one a line, continued lines joined. */
const instructionsOf = (dockerfile: string): string[] =>
  dockerfile
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

/** What is wrong with an image's recipe by the rules of this house. */
const recipeProblems = (dockerfile: string): string[] => {
  const instructions = instructionsOf(dockerfile);
  const last = (name: string) => instructions.filter((line) => line.startsWith(`${name} `)).at(-1) ?? '';
  const rules: readonly (readonly [string, boolean])[] = [
    [
      'a base has no version',
      instructions.filter((line) => line.startsWith('ARG ')).every((line) => /=[^=]+:(?!latest)/.test(line)),
    ],
    [
      'a stage is from a base that can not be chosen',
      instructions.filter((line) => line.startsWith('FROM ')).every((line) => line.startsWith('FROM ${')),
    ],
    ['ADD fetches or unpacks', !instructions.some((line) => line.startsWith('ADD '))],
    ['the user has no number, or is root', /^USER [1-9]\d*:[1-9]\d*$/.test(last('USER'))],
    ['a shell stands between the signals and the process', /^ENTRYPOINT \["/.test(last('ENTRYPOINT'))],
    // Node itself is an optional package of the root.
    ['Node is left out', instructions.some((line) => line.includes('--include-workspace-root'))],
    ['packages for development are kept', instructions.some((line) => line.includes('--omit=dev'))],
  ];
  return rules.filter(([, holds]) => !holds).map(([problem]) => problem);
};

const workspacesOf = (dockerfile: string): string[] =>
  [...dockerfile.matchAll(/--workspace services\/([a-z-]+)/g)].map(([, name]) => name ?? '').sort();

describe('the image', () => {
  let dockerfile: string;
  let entry: string;
  beforeAll(async () => {
    dockerfile = await readFile(join(repositoryRoot, 'docker/Dockerfile'), 'utf8');
    entry = await readFile(join(repositoryRoot, 'docker/service.mjs'), 'utf8');
  });

  it('has a recipe without faults', () => expect(recipeProblems(dockerfile)).toEqual([]));

  it.each([
    ['24-bookworm-slim', 'latest', 'a base has no version'],
    ['FROM ${BASE}', 'FROM debian:12', 'a base that can not be chosen'],
    ['COPY docker', 'ADD docker', 'ADD fetches'],
    ['USER 10001:10001', 'USER node', 'the user has no number'],
    ['USER 10001:10001', '', 'the user has no number'],
    ['ENTRYPOINT [', 'ENTRYPOINT exec [', 'a shell stands between'],
    ['--include-workspace-root ', '', 'Node is left out'],
    ['--omit=dev ', '', 'packages for development'],
  ])('is refused with %s changed to %j', (from, to, problem) => {
    const problems = recipeProblems(dockerfile.replace(from, to));
    expect(problems).toEqual([expect.stringContaining(problem)]);
  });

  it('has every service that the chart starts, as the user that the chart names', async () => {
    const values = [join(chart, 'values-trial.yaml')];
    const containers = workloads(manifestsOf(await (await Helm.find()).template(chart, values))).flatMap(
      containersOf,
    );
    const ours = containers.filter(({ image }) => text(image).includes('casvault/casvault'));
    const started = [...new Set(ours.map(({ args }) => text(list(args)[0])))].sort();
    expect(started).toHaveLength(6);
    expect(workspacesOf(dockerfile)).toEqual(started);
    for (const name of started) expect(entry).toContain(`'${name}'`);
    expect(await readFile(join(chart, 'values.yaml'), 'utf8')).toContain('runAsUser: 10001\n');
  });

  it.each([[[]], [['disk-service']], [['../gateway']]])('starts nothing for %j', (names) => {
    const { status, stderr } = spawnSync(process.execPath, [
      join(repositoryRoot, 'docker/service.mjs'),
      ...names,
    ]);
    expect([status, stderr.toString()]).toEqual([64, expect.stringContaining('usage: <image> <service>')]);
  });
});
