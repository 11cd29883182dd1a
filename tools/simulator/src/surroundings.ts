import { type Installation } from './inventory.js';
import { type ModelHost } from './platform.js';
import { clockSkew } from './processes.js';
import { type Random } from './random.js';

/** Hosts and virtual machines as they were before anybody backed them up, and what they do by themselves. */
export class Surroundings {
  constructor(
    private readonly here: Installation,
    private readonly random: Random,
  ) {}

  furnish(): void {
    const { platform } = this.here;
    const { random } = this;
    const hosts = [0, 1].map(() => platform.addHost(clockSkew(this.here.world), random.chance(0.65)));
    const count = random.whole(2, 4);
    for (let i = 0; i < count; i += 1) {
      const host = hosts[i % hosts.length];
      if (host) this.#addVm(host, i);
    }
  }

  #addVm(host: ModelHost, number: number): void {
    const { platform } = this.here;
    const { random } = this;
    const vm = platform.addVm(host, `vm${number + 1}`, random.chance(0.7) ? 'running' : 'stopped');
    for (const target of random.chance(0.4) ? ['vda', 'vdb'] : ['vda']) {
      const disk = platform.addDisk(vm, {
        target,
        blocks: random.whole(6, 20),
        format: random.chance(0.15) ? 'raw' : 'qcow2',
        mode: random.chance(0.15) ? 'independent-persistent' : 'dependent',
      });
      for (let block = 0; block < disk.blocks.length; block += 1)
        if (random.chance(0.7)) platform.write(disk, block);
    }
  }

  guestWrites(): void {
    const { random } = this;
    const running = this.here.platform.vms.filter(
      ({ power, marker }) => power === 'running' && marker === null,
    );
    const disk = random.pick(random.pick(running)?.disks ?? []);
    if (!disk) return;
    for (let i = 0; i < random.whole(1, 4); i += 1)
      this.here.platform.write(disk, random.whole(0, disk.blocks.length - 1));
  }

  hostGoesAway(): void {
    const { faults, time } = this.here.world;
    if (!faults.strikes('hosts')) return;
    const host = faults.of('hosts').pick(this.here.platform.hosts);
    const ms = faults.of('hosts').pick([3_000, 30_000, 150_000]);
    if (!host) return;
    host.awayUntil = time.now + ms;
    this.here.world.trace(host.name, `does not answer for ${ms} ms`);
  }

  loseCapture(): void {
    const { faults } = this.here.world;
    if (!faults.strikes('platform')) return;
    const vm = faults.of('platform').pick(this.here.platform.vms);
    if (!vm) return;
    this.here.world.trace('platform', `ends the capture of ${vm.name}`);
    this.here.disks.loseCaptures(vm);
  }
}
