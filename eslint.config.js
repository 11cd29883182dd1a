import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

const restrictedSyntax = [
  {
    selector:
      "CallExpression[callee.object.name='Promise'][callee.property.name=/^(all|allSettled)$/] > CallExpression[callee.property.name='map']",
    message: 'Unbounded concurrency: go through the items with a fixed number of workers, and say the bound.',
  },
  {
    selector: 'TSEnumDeclaration',
    message: 'Closed sets are `as const` objects or unions: they cross process borders as plain strings.',
  },
  { selector: 'ExportDefaultDeclaration', message: 'Named exports only: one name for one thing everywhere.' },
];
const time = [
  {
    object: 'Date',
    property: 'now',
    message:
      'Time is a parameter (`now`) or comes from the Clock of service-host: logic must run under a simulated clock.',
  },
  { object: 'Math', property: 'random', message: 'Randomness is a parameter: a seed must replay a run.' },
];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '.nx/**', '.var/**', '**/*.cjs', '**/fixtures/**'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off',
      'no-console': 'error',
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 80, skipBlankLines: true, skipComments: true }],
      complexity: ['error', 15],
      'no-restricted-syntax': ['error', ...restrictedSyntax],
      'no-restricted-properties': [
        'error',
        ...time,
        { object: 'process', property: 'env', message: 'The environment is read in config.ts alone.' },
      ],
    },
  },
  {
    files: ['**/*.spec.ts', '**/testing/**', '**/test/**', 'libs/testkit/**', 'e2e/**', 'bench/**'],
    rules: { 'max-lines-per-function': 'off', 'no-restricted-properties': 'off' },
  },
  {
    files: ['**/config.ts', 'libs/service-host/src/clock.ts', 'tools/**'],
    rules: { 'no-restricted-properties': 'off' },
  },
  { files: ['tools/**', 'bench/**', 'services/*/src/main.ts'], rules: { 'no-console': 'off' } },
  {
    files: ['*.config.js'],
    rules: { 'no-restricted-syntax': 'off' },
    languageOptions: { globals: { process: 'readonly' } },
  },
);
