import { type Logger } from '@casvault/contracts';
import { observeGauges } from './gauges.js';
import { startTelemetry } from './telemetry.js';

it('H4: gauges are read at a scrape; when they cannot be, only what was read has a series, and the log says so', async () => {
  const telemetry = await startTelemetry({ name: 'test', version: '0' });
  const warnings: string[] = [];
  const quiet = (): void => undefined;
  const logger: Logger = {
    debug: quiet,
    info: quiet,
    error: quiet,
    warn: (_fields, message) => void warnings.push(message),
  };
  let isAway = false;
  observeGauges(
    { x_queued: 'What waits', x_going: 'What goes on' },
    { meter: 'test', unread: 'x is not counted', logger },
    async (observe) => {
      observe('x_queued', 3, { group: 'a' });
      await Promise.resolve();
      if (isAway) throw new Error('away');
      observe('x_going', 1);
    },
  );
  const scrape = async (): Promise<string[]> =>
    (await telemetry.scrape()).text.split('\n').filter((line) => /^(# HELP )?x_/.test(line));
  const queued = ['# HELP x_queued What waits', 'x_queued{group="a",otel_scope_name="test"} 3'];
  const going = ['# HELP x_going What goes on', 'x_going{otel_scope_name="test"} 1'];
  expect(await scrape()).toEqual([...queued, ...going]);
  expect(warnings).toEqual([]);
  isAway = true;
  const told = (await scrape()).filter((line) => !line.startsWith('#'));
  expect(told).toEqual([queued[1]]);
  expect(warnings).toEqual(['x is not counted']);
  await telemetry.shutdown();
});
