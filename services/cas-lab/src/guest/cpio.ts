/** One entry of an initial RAM disk. `mode` holds type and permissions, as in stat(2). */
export interface CpioEntry {
  readonly path: string;
  readonly mode: number;
  readonly content: Buffer;
  /** Device numbers of a special file. */
  readonly device?: { readonly major: number; readonly minor: number };
}

const headerBytes = 110;
const pad = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);

/**
 * An archive in the "newc" format that the Linux kernel unpacks (kernel documentation, "initramfs buffer format"):
 * thirteen fields of eight hexadecimal digits, the name, the content, each padded to four bytes, and a trailer.
 * Memory: the sum of the contents.
 */
export function packCpio(entries: readonly CpioEntry[]): Buffer {
  const trailer: CpioEntry = { path: 'TRAILER!!!', mode: 0, content: Buffer.alloc(0) };
  return Buffer.concat([...entries, trailer].flatMap((entry, index) => packEntry(entry, index + 1)));
}

function packEntry(entry: CpioEntry, inode: number): Buffer[] {
  const name = Buffer.from(`${entry.path}\0`);
  const fields = [
    inode,
    entry.mode,
    0, // uid
    0, // gid
    1, // links
    0, // modification time: none, so that the same input gives the same bytes
    entry.content.length,
    0, // major and minor of the archive's own device
    0,
    entry.device?.major ?? 0,
    entry.device?.minor ?? 0,
    name.length,
    0, // checksum, unused in this format
  ];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [header, name, pad(headerBytes + name.length), entry.content, pad(entry.content.length)];
}
