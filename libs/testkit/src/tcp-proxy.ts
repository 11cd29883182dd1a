import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface TcpProxy {
  readonly port: number;
  /** Bytes that clients have sent to the server so far. */
  readonly sentBytes: number;
  /** Bytes that the server has sent to clients so far. */
  readonly receivedBytes: number;
  /** Breaks what passes, and every new connection at once, until `mend`. */
  cut(): void;
  mend(): void;
  stop(): Promise<void>;
}

/** The way to a server on loopback, which can be cut. Listens on 127.0.0.1, whichever loopback address the server has. */
export const startTcpProxy = async (to: number, address = '127.0.0.1'): Promise<TcpProxy> => {
  const sockets = new Set<Socket>();
  let isCut = false;
  let sentBytes = 0;
  let receivedBytes = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  };
  const server = createServer((client) => {
    keep(client);
    if (isCut) {
      client.resetAndDestroy();
      return;
    }
    const onward = connect(to, address);
    keep(onward);
    client.on('data', (piece) => (sentBytes += piece.length));
    onward.on('data', (piece) => (receivedBytes += piece.length));
    client.on('close', () => onward.destroy());
    onward.on('close', () => client.destroy());
    client.pipe(onward).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const reset = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    get sentBytes() {
      return sentBytes;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    cut: () => {
      isCut = true;
      reset();
    },
    mend: () => {
      isCut = false;
    },
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      reset();
      await closed;
    },
  };
};
