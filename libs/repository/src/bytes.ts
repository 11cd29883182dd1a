import { Fault } from '@casvault/contracts';

/** Stored bytes that are not what they must be. `object` is the key of the object that holds them. */
export function damaged(object: string, damage: string, cause?: unknown): Fault {
  return new Fault('POOL_OBJECT_DAMAGED', `pool object ${object} is damaged: ${damage}`, {
    details: { key: object, damage },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Stored bytes of a version, kind or parameter that this program does not know. */
export function unsupported(object: string, what: string): Fault {
  return new Fault('POOL_FORMAT_UNSUPPORTED', `pool object ${object} needs a newer program: ${what}`, {
    details: { key: object, what },
  });
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function uuidBytes(uuid: string): Buffer {
  const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');
  if (bytes.length !== 16) throw new Fault('BUG', `not a UUID: ${uuid}`);
  return bytes;
}

export function uuidText(bytes: Uint8Array): string {
  const hex = asBuffer(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Reads little-endian fields in order; running past the end, or reserved bytes that are set, is damage of `object`. */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #object: string;
  #at = 0;

  constructor(bytes: Uint8Array, object: string) {
    this.#bytes = asBuffer(bytes);
    this.#object = object;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  #take(length: number): number {
    if (length > this.remaining) {
      throw damaged(this.#object, `ends after ${this.#bytes.length} bytes, in the middle of a field`);
    }
    const at = this.#at;
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }
  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }
  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }
  u64(): number {
    const value = Number(this.#bytes.readBigUInt64LE(this.#take(8)));
    if (!Number.isSafeInteger(value)) throw damaged(this.#object, 'a 64-bit field is 2^53 or more');
    return value;
  }
  /** A view, no copy. */
  bytes(length: number): Buffer {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }
  uuid(): string {
    return uuidText(this.bytes(16));
  }
  reserved(length: number): void {
    if (this.bytes(length).some((byte) => byte !== 0)) throw damaged(this.#object, 'reserved bytes are set');
  }
  end(): void {
    if (this.remaining !== 0) throw damaged(this.#object, `${this.remaining} bytes too many`);
  }
}

/** Writes little-endian fields in order into a buffer of exactly the announced size. */
export class ByteWriter {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(length: number) {
    this.#bytes = Buffer.alloc(length);
  }

  u8(value: number): this {
    this.#at = this.#bytes.writeUInt8(value, this.#at);
    return this;
  }
  u16(value: number): this {
    this.#at = this.#bytes.writeUInt16LE(value, this.#at);
    return this;
  }
  u32(value: number): this {
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
    return this;
  }
  u64(value: number): this {
    this.#at = this.#bytes.writeBigUInt64LE(BigInt(value), this.#at);
    return this;
  }
  bytes(value: Uint8Array): this {
    if (value.length > this.#bytes.length - this.#at) throw new Fault('BUG', 'a field overruns its object');
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }
  uuid(value: string): this {
    return this.bytes(uuidBytes(value));
  }
  reserved(length: number): this {
    this.#at += length;
    return this;
  }
  /** What was written so far. */
  written(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }
  done(): Buffer {
    if (this.#at !== this.#bytes.length) throw new Fault('BUG', 'an object is shorter than announced');
    return this.#bytes;
  }
}
