import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../process/run-command.js';

/**
 * A key and a certificate that no authority signed, as a CVM has them when nobody gave it others; made once. Null where
 * there is no openssl: the lab is then without HTTPS.
 */
export async function makeTlsFiles(
  dir: string,
  address: string,
): Promise<{ key: Buffer; cert: Buffer } | null> {
  const key = join(dir, 'cvm.key');
  const cert = join(dir, 'cvm.crt');
  const names = ['-subj', '/CN=cas-lab', '-addext', `subjectAltName=IP:${address}`];
  const make = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '3650',
    '-keyout',
    key,
    '-out',
    cert,
  ];
  try {
    await readFile(cert).catch(() => runCommand('openssl', [...make, ...names]));
    return { key: await readFile(key), cert: await readFile(cert) };
  } catch {
    return null;
  }
}
