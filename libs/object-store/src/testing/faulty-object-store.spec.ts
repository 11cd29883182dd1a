import { Fault } from '@casvault/contracts';
import { describeObjectStore } from './conformance.js';
import { FaultyObjectStore } from './faulty-object-store.js';
import { MemoryObjectStore } from './memory-object-store.js';

const away = new Fault('POOL_UNREACHABLE', 'away');

describeObjectStore('FaultyObjectStore without rules', async () => {
  const inner = new MemoryObjectStore();
  return {
    store: new FaultyObjectStore(inner),
    other: new FaultyObjectStore(inner),
    stop: async () => undefined,
  };
});

describe('FaultyObjectStore', () => {
  const inner = new MemoryObjectStore();
  const put = (store: FaultyObjectStore, key: string): Promise<string> =>
    store.put(key, Buffer.from('content')).then(
      () => 'ok',
      () => 'fault',
    );

  it('fails exactly the calls of the script', async () => {
    const store = new FaultyObjectStore(inner, [
      { verb: 'put', fault: { kind: 'error', fault: away }, from: 2, count: 2, key: /^a/ },
    ]);
    const outcomes: string[] = [];
    for (const key of ['a1', 'b1', 'a2', 'a3', 'a4']) outcomes.push(await put(store, key));
    expect(outcomes).toEqual(['ok', 'ok', 'fault', 'fault', 'ok']);
    expect(await inner.stat('a2')).toBeNull();
    expect(store.calls).toEqual(['put a1', 'put b1', 'put a2', 'put a3', 'put a4']);
  });

  it('does the work whose reply is lost', async () => {
    const store = new FaultyObjectStore(inner, [
      { verb: 'put', fault: { kind: 'error-after', fault: away } },
    ]);
    expect(await put(store, 'lost')).toBe('fault');
    expect(await inner.stat('lost')).toEqual({ sizeBytes: 7 });
  });

  it('tears a write and says that all is well', async () => {
    const store = new FaultyObjectStore(inner, [{ verb: 'put', fault: { kind: 'torn', bytes: 3 } }]);
    expect(await put(store, 'torn')).toBe('ok');
    expect(Buffer.from(await store.get('torn')).toString()).toBe('con');
  });

  it('fails for ever from a call on, as after a crash', async () => {
    const store = new FaultyObjectStore(inner, [
      { verb: 'put', fault: { kind: 'error', fault: away }, from: 2, count: Infinity },
    ]);
    expect([await put(store, 'x'), await put(store, 'y'), await put(store, 'z')]).toEqual([
      'ok',
      'fault',
      'fault',
    ]);
  });
});
