import { connect } from 'node:net';
import { until } from './wait.js';

export interface NatsTap extends AsyncDisposable {
  /** Everything that passed so far: protocol lines, headers and payloads as they were on the wire. */
  bytes(): Buffer;
}

/** Hears every message of a server on loopback without authentication, as an eavesdropper on its wire would. Keeps everything. */
export const startNatsTap = async (url: string): Promise<NatsTap> => {
  const { hostname, port } = new URL(url);
  const chunks: Buffer[] = [];
  const socket = connect(Number(port), hostname);
  let lost: Error | null = null;
  socket.on('error', (error) => (lost = error));
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    if (chunk.includes('PING\r\n')) socket.write('PONG\r\n');
  });
  socket.write('CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB > 1\r\nPING\r\n');
  const heard = () => Buffer.concat(chunks);
  await until(() => {
    if (lost) throw lost;
    return heard().includes('PONG\r\n');
  });
  return {
    bytes: () => {
      if (lost) throw lost;
      return heard();
    },
    [Symbol.asyncDispose]: async () => {
      await new Promise<void>((resolve) => socket.end(resolve));
      socket.destroy();
    },
  };
};
