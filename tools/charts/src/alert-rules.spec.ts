import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { alertsOf, promtoolTests, readRules, recordedBy, rulesFile, type AlertCase } from './alert-rules.js';
import { repositoryRoot } from './helm.js';
import { metricsIn, metricTable, registeredMetrics } from './metric-table.js';
import { Promtool } from './promtool.js';
import { queryProblems } from './promql.js';

const groups = await readRules();
const alerting = groups.filter((group) => alertsOf([group]).length > 0).map(({ name }) => name);
const readCases = async (): Promise<Record<string, AlertCase>> => {
  const text = await readFile(new URL('../../fixtures/alerts.yaml', import.meta.url), 'utf8');
  return parse(text) as Record<string, AlertCase>;
};

describe('H4: metrics', () => {
  it('are those of the table, and every one of them is told by code', async () => {
    const registered = await registeredMetrics();
    const table = Object.entries(metricTable).map(([name, { type }]) => [name, type] as const);
    expect(Object.fromEntries(registered)).toEqual(Object.fromEntries(table));
  });

  it('are found in code by how they are made', () => {
    const source = `meter.createObservableGauge('casvault_a', {}); x\n  .createCounter(\n 'casvault_b_total', {});
      gauges = { casvault_c:\n 'So many' };`;
    expect([...metricsIn(source)]).toEqual([
      ['casvault_a', 'gauge'],
      ['casvault_b_total', 'counter'],
      ['casvault_c', 'gauge'],
    ]);
  });

  it('are all described for operators', async () => {
    const text = await readFile(join(repositoryRoot, 'docs/operations.md'), 'utf8');
    expect(Object.keys(metricTable).filter((name) => !text.includes(`\`${name}`))).toEqual([]);
  });

  it.each([
    ['sum(casvault_nothing)', 'no service tells casvault_nothing'],
    ['casvault_message_duration_seconds > 1', 'no service tells casvault_message_duration_seconds'],
    ['casvault_vms_bucket', 'no service tells casvault_vms_bucket'],
    ['casvault_vms offset 1h / casvault_vmz', 'no service tells casvault_vmz'],
    ['casvault_vms{state="x"}', 'casvault_vms has no label state'],
    ['sum by (group) (rate(casvault_runs[5m]))', 'nothing here has the label group'],
    ['rate(casvault_worker_bytes_total{kind="a",way=~"b"}[1m])', 'has no label way'],
  ])('a query of %s is refused', (query, problem) => {
    expect(queryProblems(query, new Set())).toEqual([expect.stringContaining(problem)]);
  });

  it.each([
    'histogram_quantile(0.99, sum by (le, subject) (rate(casvault_message_duration_seconds_bucket{outcome!="ok"}[$__rate_interval])))',
    '100 * (1 - max by (pool) (casvault_pool_free_bytes) / on (pool) casvault:recorded) > bool 1e3 and up{job="casvault"} == 0',
  ])('a query of %s is taken', (query) => {
    expect(queryProblems(query, new Set(['casvault:recorded']))).toEqual([]);
  });
});

describe('H4: alert rules', () => {
  let promtool: Promtool;
  let cases: Record<string, AlertCase>;
  beforeAll(async () => {
    promtool = await Promtool.find();
    cases = await readCases();
  });

  it('are taken by Prometheus', () => promtool.checkRules(rulesFile));

  it('ask for metrics and labels that services tell', () => {
    const queries = groups.flatMap(({ rules }) => rules.map(({ expr }) => expr));
    expect(queries.flatMap((query) => queryProblems(query, recordedBy(groups)))).toEqual([]);
  });

  it('have each a case in which they fire and one in which they do not', () => {
    const names = alertsOf(groups).map(({ alert }) => alert);
    expect(Object.keys(cases).sort()).toEqual([...names].sort());
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(alerting)('fire and are quiet as Prometheus evaluates them: %s', async (name) => {
    const { rules, tests } = promtoolTests(groups, name, cases);
    expect(tests.flatMap((file) => file.tests)).toHaveLength(2 * alertsOf(rules).length);
    await promtool.testRules(rules, tests);
  });

  it('would not pass with another case', async () => {
    const { CasvaultServiceDown: down } = cases;
    const wrong = { CasvaultServiceDown: { ...down!, quiet: down!.fires } };
    const { rules, tests } = promtoolTests(groups, 'casvault-services', wrong);
    await expect(promtool.testRules(rules, tests)).rejects.toThrow('is quiet');
  });

  it('say how bad it is, and name a section of a runbook that is there', async () => {
    const folder = join(repositoryRoot, 'docs/runbooks');
    const sections = new Set<string>();
    for (const file of await readdir(folder))
      for (const [, title = ''] of (await readFile(join(folder, file), 'utf8')).matchAll(/^## (\w+)$/gm))
        sections.add(`docs/runbooks/${file}#${title.toLowerCase()}`);
    for (const { alert, labels, annotations } of alertsOf(groups)) {
      expect(['critical', 'warning', 'info']).toContain(labels?.['severity']);
      expect(annotations?.['runbook_url']).toMatch(new RegExp(`#${alert.toLowerCase()}$`));
      expect(sections).toContain(annotations?.['runbook_url']);
    }
    expect(sections.size).toBe(alertsOf(groups).length);
  });
});
