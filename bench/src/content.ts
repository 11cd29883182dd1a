import { createCipheriv } from 'node:crypto';
import { SeededRandom } from './random.js';

/** An endless supply of one kind of content: each call gives the next file, or the next piece of a large one. */
export interface ContentSource {
  next(): Buffer | Promise<Buffer>;
}

const mib = 1_048_576;
const databasePageBytes = 8192;
const rowBytes = 48;

/** Encrypted or already compressed data: nothing to gain for a compressor. */
export function incompressible(seed: number): ContentSource {
  const random = new SeededRandom(seed);
  const stream = createCipheriv('aes-256-ctr', Buffer.alloc(32, seed), Buffer.alloc(16));
  return { next: () => stream.update(Buffer.alloc(random.between(1, 16) * mib)) };
}

/** Lines of a web service's log. */
export function log(seed: number): ContentSource {
  const random = new SeededRandom(seed);
  const statuses = [200, 200, 200, 204, 304, 404, 500];
  let second = 1_700_000_000;
  const line = (): string => {
    second += random.between(0, 2);
    const request = random.bits().toString(16).padStart(8, '0') + random.bits().toString(16).padStart(8, '0');
    return (
      `${second} host${random.between(0, 39)} svc[${random.between(1, 30_000)}]: request id=${request} ` +
      `path=/api/v${random.between(1, 4)}/item/${random.between(0, 99_999)} status=${random.pick(statuses)} ` +
      `ms=${random.between(0, 900)}\n`
    );
  };
  return {
    next: () => {
      const wanted = random.between(4, 16) * mib;
      const lines: string[] = [];
      for (let length = 0; length < wanted;) {
        const text = line();
        lines.push(text);
        length += text.length;
      }
      return Buffer.from(lines.join(''), 'latin1').subarray(0, wanted);
    },
  };
}

/** Pages of a database's heap, partly full. */
export function databasePages(seed: number): ContentSource {
  const random = new SeededRandom(seed);
  let page = 0;
  const fill = (into: Buffer): void => {
    page += 1;
    into.writeBigUInt64LE(BigInt(page * 8191), 0);
    into.writeUInt32LE(page, 12);
    const rows = random.between(40, 160);
    for (let row = 0; row < rows; row += 1) {
      const at = 24 + row * rowBytes;
      into.writeUInt32LE(page * 100 + row, at);
      into.writeUInt32LE(random.between(0, 5_000), at + 4);
      into.writeBigUInt64LE(BigInt(1_700_000_000_000 + page * row), at + 8);
      into.writeDoubleLE(random.bits() / 2 ** 32, at + 16);
      into.write(`customer-${random.between(0, 9_999)}`, at + 24, 'latin1');
    }
  };
  return {
    next: () => {
      const file = Buffer.alloc(random.between(2, 16) * mib);
      for (let at = 0; at < file.length; at += databasePageBytes)
        fill(file.subarray(at, at + databasePageBytes));
      return file;
    },
  };
}
