/** Layers of the house (ARCHITECTURE.md). Every rule says why it is there. */
const lib = (names) => `^libs/(${names})/`;
const allow = (from, libs, comment) => ({
  name: `layer-${from.replace(/\W+/g, '-')}`,
  severity: 'error',
  comment,
  from: { path: `^${from}/src`, pathNot: '(\\.spec\\.ts$|/testing/)' },
  to: { path: '^(libs|services|tools)/', pathNot: [`^${from}/`, ...(libs ? [lib(libs)] : [])] },
});
const ban = (from, packages, comment) => ({
  name: `ban-${from.replace(/\W+/g, '-')}`,
  severity: 'error',
  comment,
  from: { path: `^${from}/src`, pathNot: '(\\.spec\\.ts$|/testing/)' },
  to: { path: packages },
});
const frameworks = 'node_modules/(@nestjs|typeorm|@nats-io|pg)(/|$)';

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      comment: 'A cycle has no layers.',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'one-door',
      severity: 'error',
      comment: 'Another package is entered by its public door alone.',
      from: { path: '^(libs|services|tools|e2e|bench)/([^/]+)/' },
      to: {
        path: '^(libs|services)/([^/]+)/(src|dist)/.+',
        pathNot: [
          '^libs/[^/]+/(src|dist/src)/index\\.(ts|js|d\\.ts)$',
          '^$1/$2/',
          '^libs/[^/]+/(src|dist/src)/testing/index\\.(ts|js|d\\.ts)$',
          // For simulators: machines without their servers. Services are kept out of each other by the rule below.
          '^services/[^/]+/(src|dist/src)/machine\\.(ts|js|d\\.ts)$',
        ],
      },
    },
    {
      name: 'no-service-to-service',
      severity: 'error',
      comment: 'Services speak through contracts, never through imports.',
      from: { path: '^services/([^/]+)/' },
      to: { path: '^services/([^/]+)/', pathNot: '^services/$1/' },
    },
    {
      name: 'testkit-in-tests-only',
      severity: 'error',
      comment: 'The testkit starts servers and injects faults: it must not be reachable from the product.',
      from: {
        path: '^(libs|services)/',
        pathNot: ['\\.spec\\.ts$', '/testing/', '/test/', '^libs/testkit/'],
      },
      to: { path: ['^libs/testkit/', '/testing/'] },
    },
    {
      name: 'domain-is-pure',
      severity: 'error',
      comment: 'A machine, plan or decision knows no framework, no row, no message.',
      from: { path: '\\.(machine|plan|rules)\\.ts$' },
      to: { path: ['\\.(table|handlers|controller|effects)\\.ts$', '-store\\.ts$', frameworks, '^node:'] },
    },
    {
      name: 'rows-behind-stores',
      severity: 'error',
      comment: 'Row shapes are known to their store, the data source and the migrations.',
      from: {
        path: '^services/',
        pathNot: ['-store\\.ts$', '\\.table\\.ts$', '/(app\\.module|data-source)\\.ts$', '\\.spec\\.ts$'],
      },
      to: { path: '\\.table\\.ts$' },
    },
    allow('libs/contracts', '', 'contracts is the ground: it knows nobody.'),
    allow('libs/repository', 'contracts', 'The format is pure: bytes in, bytes out.'),
    allow('libs/object-store', 'contracts', 'A port to a store of bytes.'),
    allow('libs/block-source', 'contracts', 'A port to disks.'),
    allow('libs/cas-client', 'contracts', 'A port to the CVM.'),
    allow('libs/libvirt', 'contracts', 'A port to libvirt.'),
    allow('libs/licence', 'contracts', 'A file format; what it allows is licensing-auth’s.'),
    allow('libs/machine', 'contracts', 'Machines are pure; their runtime works over a store port.'),
    allow(
      'libs/data-path',
      'contracts|repository|object-store|block-source',
      'The engine knows no service and no framework.',
    ),
    allow('libs/messaging', 'contracts', 'Messages only.'),
    allow('libs/persistence', 'contracts|machine', 'Rows only.'),
    allow('libs/service-host', 'contracts|messaging|persistence|machine', 'Boots a service.'),
    ban(
      'libs/repository',
      ['node_modules/(@nestjs|typeorm|@nats-io|pg|@aws-sdk)', '^(node:)?(fs|net|http|child_process)'],
      'The format does no I/O.',
    ),
    ban(
      'libs/(object-store|block-source|data-path|cas-client|libvirt|licence|machine)',
      frameworks,
      'The data path knows no framework.',
    ),
    ban(
      'services',
      'node_modules/(@aws-sdk|@nats-io)(/|$)',
      'Services reach stores and NATS through the libraries.',
    ),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: ['(^|/)dist/.*\\.spec\\.', '\\.d\\.ts\\.map$', '^tools/layers/fixtures/'] },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'default'] },
  },
};
