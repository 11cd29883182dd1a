import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { alertsOf, readRules, recordedBy, type RuleGroup } from './alert-rules.js';
import { chart, Helm } from './helm.js';
import { at, branch, manifestsOf, text, type Manifest } from './manifest.js';
import { Promtool } from './promtool.js';
import { queryProblems } from './promql.js';

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>;
  readonly targets: readonly { readonly expr: string; readonly datasource: { readonly uid: string } }[];
}
interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
}

const folder = join(chart, 'files/dashboards');
const readDashboards = async (): Promise<[string, Dashboard][]> => {
  const dashboards: [string, Dashboard][] = [];
  for (const name of (await readdir(folder)).sort())
    dashboards.push([name, JSON.parse(await readFile(join(folder, name), 'utf8')) as Dashboard]);
  return dashboards;
};
const dashboards = await readDashboards();
const groups = await readRules();
const queriesOf = ({ panels }: Dashboard): string[] =>
  panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
const isOver = (a: Panel['gridPos'], b: Panel['gridPos']): boolean =>
  a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

describe.each(dashboards)('H4: dashboard %s', (_name, dashboard) => {
  it('asks for metrics and labels that services tell', () => {
    expect(queriesOf(dashboard).flatMap((query) => queryProblems(query, recordedBy(groups)))).toEqual([]);
  });

  it('has queries that Prometheus can read', async () => {
    const queries = queriesOf(dashboard).map((query) => query.replaceAll('$__rate_interval', '5m'));
    expect(queries.length).toBeGreaterThan(0);
    const promtool = await Promtool.find();
    await promtool.checkQueries(queries);
    await expect(promtool.checkQueries([...queries, 'sum(('])).rejects.toThrow('parse error');
  });

  it('has panels side by side, each once and with the chosen source', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
    for (const { gridPos, targets } of panels) {
      expect(panels.filter((other) => isOver(gridPos, other.gridPos))).toHaveLength(1);
      for (const { datasource } of targets) expect(datasource.uid).toBe('${datasource}');
    }
  });
});

describe('H4: monitoring by the chart', () => {
  let helm: Helm;
  const trial = [join(chart, 'values-trial.yaml')];
  const render = async (...set: string[]): Promise<Manifest[]> =>
    manifestsOf(await helm.template(chart, trial, set));
  const only = (manifests: readonly Manifest[], kind: string): Manifest | undefined =>
    manifests.find((one) => one.kind === kind);
  const groupsOf = (rule: Manifest | undefined) => at(rule, 'spec', 'groups') as unknown as RuleGroup[];
  beforeAll(async () => {
    helm = await Helm.find();
  });

  it('has the rules of the plain file, as they are', async () => {
    const rule = only(await render('monitoring.rules.enabled=true'), 'PrometheusRule');
    expect(groupsOf(rule)).toEqual(groups);
  });

  it('sets thresholds and the address of runbooks, and nothing else', async () => {
    const rule = only(
      await render(
        'monitoring.rules.enabled=true',
        'monitoring.rules.runbookBaseUrl=https://x/',
        'monitoring.rules.thresholds.rpoHours=12',
        'monitoring.rules.thresholds.unprotectedVms=1234567',
      ),
      'PrometheusRule',
    );
    const expected = parse(
      JSON.stringify(groups)
        .replace('vector(26)', 'vector(12)')
        .replace('vector(0)', 'vector(1234567)')
        .replaceAll('docs/runbooks/', 'https://x/docs/runbooks/'),
    ) as RuleGroup[];
    expect(groupsOf(rule)).toEqual(expected);
    expect(alertsOf(expected).length).toBeGreaterThan(20);
  });

  it('has every dashboard in a ConfigMap that the sidecar of Grafana finds', async () => {
    const maps = (await render('monitoring.dashboards.enabled=true')).filter(
      (one) => at(one, 'metadata', 'labels', 'grafana_dashboard') === '1',
    );
    const shown = maps.flatMap((one) => Object.values(branch(one['data'])).map((json) => text(json)));
    expect(shown.map((json) => JSON.parse(json) as Dashboard)).toEqual(dashboards.map(([, one]) => one));
  });

  it('is scraped under the labels that rules and dashboards ask for', async () => {
    const monitor = only(await render('monitoring.scrape.enabled=true'), 'PodMonitor');
    expect(JSON.stringify(at(monitor, 'spec', 'podMetricsEndpoints'))).toContain(
      '"targetLabel":"job","replacement":"casvault"',
    );
  });

  it('has none of it unless it is asked for', async () => {
    const kinds = (await render()).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'PodMonitor' || kind === 'PrometheusRule')).toEqual([]);
  });
});
