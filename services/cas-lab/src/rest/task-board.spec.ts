import { busyText, CasError } from './cas-error.js';
import { casTime, TaskBoard } from './task-board.js';

const plan = { name: '启动虚拟机', eventType: 30, targetId: 7, targetName: 'vm' };
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a task', () => {
  let now = 1_448_420_536_259;
  const board = (): TaskBoard => new TaskBoard(() => new Date(now));
  const idOf = (reply: unknown): number => Number((reply as { msgId: string }).msgId);

  it('is answered at once, runs, and then tells how it ended', async () => {
    const tasks = board();
    let finish = (): void => undefined;
    const reply = tasks.start(
      plan,
      () => new Promise((resolve) => (finish = () => resolve({ targetId: 42 }))),
    );
    expect(reply).toMatchObject({ msgId: '1448420536259', completed: 'false', progress: '0', targetId: '7' });
    expect(tasks.find(idOf(reply))).toMatchObject({ completed: 'false', eventType: '30' });
    now += 1500;
    finish();
    await settled();
    expect(tasks.find(idOf(reply))).toMatchObject({
      completed: 'true',
      result: '0',
      progress: '100',
      targetId: '42',
      failMsg: undefined,
      complete: casTime(new Date(now)),
    });
  });

  it('has an id of its own, even within one millisecond', () => {
    const tasks = board();
    const ids = [1, 2, 3].map((id) =>
      idOf(tasks.start({ ...plan, targetName: String(id) }, async () => undefined)),
    );
    expect(new Set(ids).size).toBe(3);
  });

  it('that fails says why', async () => {
    const tasks = board();
    const reply = tasks.start(plan, () => Promise.reject(new CasError(11, '不行')));
    await settled();
    expect(tasks.find(idOf(reply))).toMatchObject({ completed: 'true', result: '1', failMsg: '不行' });
  });

  it('on a machine that has one already fails as on a busy host, and so does one that was told to', async () => {
    const tasks = board();
    tasks.start(plan, () => new Promise(() => undefined));
    const second = tasks.start(plan, async () => undefined);
    tasks.busyFaults = 1;
    const told = tasks.start({ ...plan, targetName: 'other' }, async () => undefined);
    const free = tasks.start({ ...plan, targetName: 'third' }, async () => undefined);
    await settled();
    expect(tasks.find(idOf(second))).toMatchObject({ result: '1', failMsg: busyText });
    expect(tasks.find(idOf(told))).toMatchObject({ result: '1', failMsg: busyText });
    expect(tasks.find(idOf(free))).toMatchObject({ result: '0' });
  });

  it('that nobody began is not known', () => {
    expect(board().find(1)).toBeUndefined();
  });

  it('tells times of China', () => {
    expect(casTime(new Date('2026-05-04T20:30:00.123Z'))).toBe('2026-05-05T04:30:00.123+08:00');
  });
});
