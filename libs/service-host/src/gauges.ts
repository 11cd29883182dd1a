import { type Logger } from '@casvault/contracts';
import { metrics, type BatchObservableResult, type ObservableGauge } from '@opentelemetry/api';

/** Tells the value of a gauge now. */
type Observe<N extends string> = (name: N, value: number, labels?: Readonly<Record<string, string>>) => void;

interface GaugeOptions {
  readonly meter: string;
  /** What the log says when they can't be read: until they can, they have no series. */
  readonly unread: string;
  readonly logger: Logger;
}

/** Registers gauges that are read together at every scrape: what each tells, by its name. */
export const observeGauges = <N extends string>(
  gauges: Readonly<Record<N, string>>,
  { meter: meterName, unread, logger }: GaugeOptions,
  read: (observe: Observe<N>) => Promise<void>,
): void => {
  const meter = metrics.getMeter(meterName);
  const byName = new Map<string, ObservableGauge>();
  for (const [name, description] of Object.entries<string>(gauges))
    byName.set(name, meter.createObservableGauge(name, { description }));
  const observed = async (result: BatchObservableResult): Promise<void> => {
    try {
      await read((name, value, labels) => {
        const gauge = byName.get(name);
        if (gauge) result.observe(gauge, value, labels);
      });
    } catch (error) {
      logger.warn({ err: error }, unread);
    }
  };
  meter.addBatchObservableCallback(observed, [...byName.values()]);
};
