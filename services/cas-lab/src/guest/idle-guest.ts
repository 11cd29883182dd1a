import { createHash, randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Real mode, as it is entered behind the header of a Linux kernel. ACPI's registers lie where QEMU's firmware puts them. */
const program: readonly [bytes: string, meaning: string][] = [
  ['8cc8 8ed8 fc', 'mov ax, cs; mov ds, ax; cld'],
  ['ba0206 b80001 ef', 'mov dx, 0x602; mov ax, 0x100; out dx, ax    ; PM1 enable: the power button'],
  ['fb f4', 'tick: sti; hlt                                ; until the timer, 18 times a second'],
  ['ba0006 ed f6c401 7520', 'mov dx, 0x600; in ax, dx; test ah, 1; jnz off ; PM1 status: pressed'],
  ['43 f6c303 75ef', 'inc bx; test bl, 3; jnz tick'],
  ['be4000', 'mov si, line'],
  ['ac 88c4 84c0 74e5', 'next: lodsb; mov ah, al; test al, al; jz tick'],
  ['bafd02 ec a820 74fb', 'mov dx, 0x2fd; wait: in al, dx; test al, 0x20; jz wait'],
  ['baf802 88e0 ee ebe9', 'mov dx, 0x2f8; mov al, ah; out dx, al; jmp next'],
  ['ba0406 b80020 ef ebcc', 'off: mov dx, 0x604; mov ax, 0x2000; out dx, ax; jmp tick ; PM1 control: S5'],
];
/** What a guest without a workload says of it, on the control line: it is up. */
const line = '{"number":0,"pairs":0,"bulkBytes":0,"discards":0,"errors":0,"disks":0,"running":0}\n\0';

const sector = 512;
/** QEMU loads a file without the magic of a newer header as a kernel of old: boot sector, set-up sectors, the rest. */
const setupSectorsAt = 0x1f1;

/** A whole guest in three sectors. */
function idleGuest(): Buffer {
  const image = Buffer.alloc(3 * sector);
  image.writeUInt8(1, setupSectorsAt);
  const code = Buffer.from(program.map(([bytes]) => bytes.replaceAll(' ', '')).join(''), 'hex');
  Buffer.concat([code, Buffer.from(line, 'latin1')]).copy(image, sector);
  return image;
}

/** Writes it below `cacheDir`, readable by anyone; its path. */
export async function prepareIdleGuest(cacheDir: string): Promise<string> {
  const image = idleGuest();
  const path = join(cacheDir, `idle-${createHash('sha256').update(image).digest('hex').slice(0, 12)}`);
  const made = `${path}.${randomUUID()}`;
  await mkdir(cacheDir, { recursive: true });
  try {
    await writeFile(made, image, { mode: 0o644 });
    await rename(made, path);
  } finally {
    await rm(made, { force: true });
  }
  return path;
}
