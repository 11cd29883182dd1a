import { setTimeout as delay } from 'node:timers/promises';
import { newId, type CaptureRequest, type OpeningId } from '@casvault/contracts';
import { HypervisorHost, type TestVm } from './hypervisor-host.js';

describe('D3: a guest frozen for the instant of its capture', () => {
  let host: HypervisorHost;
  let vm: TestVm;

  const request = (quiesceSeconds?: number): CaptureRequest => ({
    kind: 'capture',
    vm: { uuid: vm.uuid, name: vm.name },
    disks: vm.disks.map(({ target, path }) => ({ target, path })),
    leaseSeconds: 60,
    ...(quiesceSeconds === undefined ? {} : { quiesceSeconds }),
  });
  const capture = async (quiesceSeconds?: number) => {
    const opening = await host.client.open(newId<OpeningId>(), request(quiesceSeconds));
    await host.client.close(opening.openingId);
    const { consistency, reasons } = opening;
    return { consistency, reasons };
  };
  const notFrozen = { consistency: 'crash', reasons: ['GUEST_NOT_FROZEN'] };

  beforeAll(async () => {
    host = await HypervisorHost.start('21800-21899');
    await host.startService();
    vm = await host.defineVm('guest', [
      { target: 'vda', path: await host.createImage('a', '4M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(vm.uuid);
  });
  afterAll(async () => {
    await host.stop();
  });
  afterEach(async () => {
    await host.removeAgent();
  });

  test('without an agent it is captured as it is, and that is said', async () => {
    expect(await capture(10)).toEqual(notFrozen);
  });

  test('with one it is frozen when the capture begins, and thawed after', async () => {
    await host.installAgent();
    expect(await capture(10)).toEqual({ consistency: 'file-system', reasons: [] });
    expect(await host.agentLog()).toEqual(['freeze', 'begin frozen', 'thaw']);
    expect(await capture()).toEqual({ consistency: 'crash', reasons: [] });
    expect(await host.agentLog()).toEqual(['freeze', 'begin frozen', 'thaw', 'begin thawed']);
  });

  test('no longer than allowed, though the capture takes its time', async () => {
    await host.installAgent({ beginSeconds: 4 });
    expect(await capture(1)).toEqual(notFrozen);
    expect((await host.agentLog()).slice(0, 3)).toEqual(['freeze', 'thaw', 'begin thawed']);
    expect(await host.isGuestFrozen()).toBe(false);
  });

  test('an agent that does not answer in time holds nothing up, and is thawed', async () => {
    await host.installAgent({ freezeSeconds: 3 });
    expect(await capture(1)).toEqual(notFrozen);
    expect(await host.agentLog()).toContain('thaw');
    expect(await host.isGuestFrozen()).toBe(false);
  });

  test('a guest that somebody else froze is left to them', async () => {
    await host.installAgent();
    await host.freezeByOthers();
    expect(await capture(10)).toEqual(notFrozen);
    expect(await host.agentLog()).toEqual(['begin frozen']);
    expect(await host.isGuestFrozen()).toBe(true);
  });

  test('a capture that fails thaws it', async () => {
    await host.installAgent({ beginSeconds: 1 });
    const opening = host.client.open(newId<OpeningId>(), request(20));
    while (!(await host.isGuestFrozen())) await delay(20);
    await host.libvirt.destroy(vm.uuid);
    await expect(opening).rejects.toMatchObject({ code: 'LIBVIRT_FAILED' });
    expect(await host.isGuestFrozen()).toBe(false);
    await host.libvirt.start(vm.uuid);
    // It would be thawed again for a while, in case of a late freeze: that is no change of the next capture.
    await host.forgetOpenings();
  });

  test('the sweep covers all changes of such a capture', async () => {
    await host.installAgent();
    expect(await host.changesOf(async () => void (await capture(20)))).toBe(4);
  });
  // Freeze, begin, thaw, end.
  const steps = [1, 2, 3, 4].flatMap((nth) => (['after', 'before'] as const).map((when) => ({ nth, when })));
  test.each(steps)('a service killed $when change $nth leaves it thawed', async ({ nth, when }) => {
    await host.installAgent();
    await host.killServiceAt(nth, when);
    const calls = capture(20).catch(() => undefined);
    expect(await host.killedByTrap()).toBe(true);
    await calls;
    const isFrozenThen = await host.isGuestFrozen();
    expect(isFrozenThen).toBe(
      (nth === 1 && when === 'after') || nth === 2 || (nth === 3 && when === 'before'),
    );
    await host.disarm();
    await host.startService();
    // A command that was on its way arrives a second late.
    if (when === 'before') await delay(1_500);
    for (let waitedMs = 0; waitedMs < 60_000 && (await host.isGuestFrozen()); waitedMs += 100)
      await delay(100);
    expect(await host.isGuestFrozen()).toBe(false);
    expect(await host.remainsAfter([vm])).toEqual([]);
    await host.forgetOpenings();
  });
});
