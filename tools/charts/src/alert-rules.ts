import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { chart } from './helm.js';

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
export interface Alert extends Rule {
  readonly alert: string;
}
export interface RuleGroup {
  readonly name: string;
  readonly rules: readonly Rule[];
}
/** What a file of promtool's has beside the names of the files with rules. */
export interface PromtoolTest {
  readonly evaluation_interval: string;
  readonly group_eval_order: readonly string[];
  readonly tests: readonly unknown[];
}
/** One alert of fixtures/alerts.yaml. */
export interface AlertCase {
  readonly at: string;
  readonly step?: string;
  readonly fires: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
  readonly quiet: Readonly<Record<string, string>>;
}

export const rulesFile = join(chart, 'files/rules.yaml');

export const readRules = async (): Promise<RuleGroup[]> =>
  (parse(await readFile(rulesFile, 'utf8')) as { groups: RuleGroup[] }).groups;

export const alertsOf = (groups: readonly RuleGroup[]): Alert[] =>
  groups.flatMap(({ rules }) => rules).filter((rule): rule is Alert => rule.alert !== undefined);

export const recordedBy = (groups: readonly RuleGroup[]): Set<string> =>
  new Set(groups.flatMap(({ rules }) => rules.flatMap(({ record }) => record ?? [])));

const thresholds = 'casvault-thresholds';

/**
 * The cases of one group as promtool takes them, a file for each step; each alert once as it fires and once as it does not.
 * Rules of other groups are left out: they take most of the time.
 */
export const promtoolTests = (
  groups: readonly RuleGroup[],
  name: string,
  cases: Readonly<Record<string, AlertCase>>,
): { rules: readonly RuleGroup[]; tests: readonly PromtoolTest[] } => {
  const rules = groups.filter((group) => group.name === thresholds || group.name === name);
  const found = alertsOf(rules).flatMap((alert) => {
    const one = cases[alert.alert];
    return one === undefined ? [] : testsOf(alert, one);
  });
  // Thresholds before what asks for them: after a step of ten minutes those of the step before are stale.
  const order = [...new Set([thresholds, name])];
  const tests = [...new Set(found.map(({ interval }) => interval))].map((step) => ({
    evaluation_interval: step,
    group_eval_order: order,
    tests: found.filter(({ interval }) => interval === step),
  }));
  return { rules, tests };
};

const testsOf = (alert: Alert, one: AlertCase) => {
  const fired = {
    exp_labels: { ...alert.labels, ...one.labels },
    exp_annotations: { ...alert.annotations, summary: one.summary },
  };
  const { at, step = '1m' } = one;
  return [testOf(alert, at, step, one.fires, [fired]), testOf(alert, at, step, one.quiet, [])];
};

const testOf = (
  { alert }: Alert,
  at: string,
  interval: string,
  series: Readonly<Record<string, string>>,
  fired: readonly unknown[],
) => ({
  name: `${alert} ${fired.length > 0 ? 'fires' : 'is quiet'}`,
  interval,
  input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
  alert_rule_test: [{ eval_time: at, alertname: alert, exp_alerts: fired }],
});
