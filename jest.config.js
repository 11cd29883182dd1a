// Tests run on the compiled output (dist/), which is exactly what production runs: worker threads and child processes
// resolve the same files. See docs/adr/0001-tests-run-on-compiled-output.md.
const base = {
  testEnvironment: 'node',
  transform: {},
  setupFilesAfterEnv: ['<rootDir>/tools/setup/true-cause.mjs'],
  modulePathIgnorePatterns: ['<rootDir>/.var/', '<rootDir>/.nx/'],
};
const spec = (suffix) => [
  `<rootDir>/libs/*/dist/**/*${suffix}`,
  `<rootDir>/services/*/dist/**/*${suffix}`,
  `<rootDir>/tools/*/dist/**/*${suffix}`,
  `<rootDir>/bench/dist/**/*${suffix}`,
];

export default {
  watchman: false,
  testTimeout: 300_000,
  testSequencer: '<rootDir>/tools/setup/slowest-first.mjs',
  projects: [
    {
      ...base,
      displayName: 'unit',
      testMatch: spec('.spec.js'),
      testPathIgnorePatterns: ['/node_modules/', '\\.integration\\.spec\\.js$'],
    },
    { ...base, displayName: 'integration', testMatch: spec('.integration.spec.js') },
    { ...base, displayName: 'e2e', testMatch: ['<rootDir>/e2e/dist/**/*.spec.js'] },
  ],
};
