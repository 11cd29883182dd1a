import { readConfig } from './config.js';
import { startLab } from './lab.js';
import { readEnvironment } from './config.js';

/** The configuration is wrong: EX_CONFIG of sysexits.h. */
const exitConfig = 78;

async function main(): Promise<void> {
  const config = readConfig(readEnvironment());
  const lab = await startLab(config, () => new Date(), process.getuid?.() === 0);
  console.log(JSON.stringify({ ready: true, vms: lab.machines.all.map((vm) => vm.name) }));
  const end = (): void => {
    void lab.stop().then(() => process.exit(0));
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(exitConfig);
});
