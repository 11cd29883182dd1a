import { ManualClock } from '@casvault/testkit';
import { MemoryMachineStore } from './memory-store.js';
import { machineStoreConformance } from './testing/index.js';

machineStoreConformance('memory', async () => {
  const clock = new ManualClock();
  return { store: new MemoryMachineStore(clock), pass: (ms) => clock.advance(ms) };
});
