import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../../../', import.meta.url));
const broken = fileURLToPath(new URL('../../fixtures/broken', import.meta.url));

interface Report {
  readonly summary: { readonly violations: readonly { from: string; to: string; rule: { name: string } }[] };
}

const violations = async (): Promise<string[]> => {
  const args = [`${root}node_modules/dependency-cruiser/bin/dependency-cruiser.mjs`];
  args.push('--config', `${root}.dependency-cruiser.cjs`, '--output-type', 'json', 'libs', 'services');
  const { stdout } = await run(process.execPath, args, { cwd: broken }).catch(
    (error: unknown) => error as { stdout: string },
  );
  const report = JSON.parse(stdout) as Report;
  return report.summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`);
};

/** A small tree in which every layer is broken once: the rules must see each of them. */
describe('the rules of the layers', () => {
  let found: string[];
  beforeAll(async () => {
    found = await violations();
  });

  it.each([
    ['the format does no I/O', 'ban-libs-repository: libs/repository/src/frame.ts -> fs'],
    [
      'the engine knows no framework',
      /^ban-libs-.*data-path.*: libs\/data-path\/src\/engine\.ts -> .*@nestjs\/common/,
    ],
    ['one door', 'one-door: libs/data-path/src/engine.ts -> libs/repository/src/frame.ts'],
    [
      'services speak through contracts',
      'no-service-to-service: services/scheduler/src/run.ts -> services/inventory/src/vm-store.ts',
    ],
    [
      'a machine is pure',
      'domain-is-pure: services/scheduler/src/run.machine.ts -> services/scheduler/src/job-store.ts',
    ],
    [
      'rows stay behind stores',
      'rows-behind-stores: services/scheduler/src/job.handlers.ts -> services/scheduler/src/job.table.ts',
    ],
    [
      'the testkit is for tests',
      'testkit-in-tests-only: services/scheduler/src/job.handlers.ts -> libs/testkit/src/index.ts',
    ],
    ['a cycle has no layers', /^no-circular: services\/inventory\/src\/(b|vm-store)\.ts/],
  ])('%s', (_rule, expected) => {
    expect(found).toContainEqual(typeof expected === 'string' ? expected : expect.stringMatching(expected));
  });
});
