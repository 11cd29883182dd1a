import { createServer } from 'node:net';
import fc from 'fast-check';
import { Ports } from './ports.js';

const allFree = async (): Promise<boolean> => true;

describe('NBD ports', () => {
  test('no port is given twice while it is taken, and a freed one is not given at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 5 }), { maxLength: 60 }), async (steps) => {
        const ports = new Ports({ first: 20_000, last: 20_003 }, allFree);
        const taken = new Map<number, string>();
        for (const [n, step] of steps.entries()) {
          const owner = `o${String(step)}`;
          if (n % 3 === 2) {
            ports.release(owner);
            for (const [port, by] of taken) if (by === owner) taken.delete(port);
          } else if (taken.size === 4) {
            await expect(ports.take(owner, '::')).rejects.toMatchObject({ code: 'DISK_SERVICE_REFUSED' });
          } else {
            const port = await ports.take(owner, '::');
            expect(taken.has(port)).toBe(false);
            taken.set(port, owner);
          }
        }
      }),
      { numRuns: 50 },
    );
    const ports = new Ports({ first: 20_000, last: 20_003 }, allFree);
    const first = await ports.take('a', '::');
    ports.release('a');
    expect(await ports.take('a', '::')).not.toBe(first);
  });

  test('an owner frees its own alone', async () => {
    const ports = new Ports({ first: 20_000, last: 20_001 }, allFree);
    ports.claim('a', 20_000);
    ports.release('b');
    ports.release('b', 20_000);
    expect(await ports.take('b', '::')).toBe(20_001);
  });

  test('one that another process listens on is passed over', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    await expect(new Ports({ first: port, last: port }).take('a', '127.0.0.1')).rejects.toThrow(
      /no free NBD port/,
    );
    await new Promise((resolve) => server.close(resolve));
    expect(await new Ports({ first: port, last: port }).take('a', '127.0.0.1')).toBe(port);
  });
});
