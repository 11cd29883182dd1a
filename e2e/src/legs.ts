import { startTcpProxy, type TcpProxy, type WayToExport } from '@casvault/testkit';

/** A connection that a transfer needs, as often as it is made. */
export interface Leg {
  /** In both directions. */
  readonly passedBytes: number;
  cut(): void;
  mend(): void;
}

/** By one way alone. */
export const legThrough = (way: TcpProxy): Leg => ({
  get passedBytes() {
    return way.sentBytes + way.receivedBytes;
  },
  cut: () => way.cut(),
  mend: () => way.mend(),
});

/** What an opening is of: a machine's name, or a volume's path, which holds it. */
const subjectOf = (request: Parameters<WayToExport>[0]): string =>
  request.kind === 'capture' ? request.vm.name : request.path;

/** The ways to the exports of disk services, each through a proxy of its own: of one machine they can be cut, others stay. */
export class DiskLegs implements AsyncDisposable {
  readonly #ways = new Map<string, Promise<TcpProxy>>();
  readonly #subjects = new Map<TcpProxy, string>();
  readonly #cut = new Set<string>();

  readonly wayTo: WayToExport = async (request, { host, port }) => {
    const place = `${host}:${port}`;
    const begun = this.#ways.get(place) ?? startTcpProxy(port, host);
    this.#ways.set(place, begun);
    const way = await begun;
    // Ports are taken again: whose it is now decides.
    this.#subjects.set(way, subjectOf(request));
    if ([...this.#cut].some((name) => subjectOf(request).includes(name))) way.cut();
    else way.mend();
    return { host: '127.0.0.1', port: way.port };
  };

  /** Of the machine of that name, or which is being made under that name. */
  of(name: string): Leg {
    const ways = (): TcpProxy[] =>
      [...this.#subjects].filter(([, subject]) => subject.includes(name)).map(([way]) => way);
    return {
      get passedBytes() {
        return ways().reduce((sum, way) => sum + legThrough(way).passedBytes, 0);
      },
      cut: () => {
        this.#cut.add(name);
        for (const way of ways()) way.cut();
      },
      mend: () => {
        this.#cut.delete(name);
        for (const way of ways()) way.mend();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const way of this.#ways.values()) await (await way).stop();
  }
}
