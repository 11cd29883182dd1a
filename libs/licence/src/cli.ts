#!/usr/bin/env node
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { newId, type LicenceId } from '@casvault/contracts';
import { type JWK } from 'jose';
import { issueLicence, newLicenceKey } from './licence.js';

const usage = `usage: casvault-licence key --out FILE
         makes a pair of keys: the private one goes to FILE, the public one, for CASVAULT_LICENCE_KEYS, is printed
       casvault-licence issue --key FILE --holder NAME [--feature advanced]... [--module backup-host=20]... [--days 365]
         prints a licence that is signed with the private key; without --days it does not expire`;

const dayMs = 86_400_000;

async function makeKey(out: string): Promise<string> {
  const { publicKey, privateKey } = await newLicenceKey();
  await writeFile(out, `${JSON.stringify(privateKey)}\n`, { mode: 0o600, flag: 'wx' });
  return publicKey;
}

/** `backup-host=20` */
const moduleOf = (text: string): [string, number] => {
  const [, name, count] = /^([^=]+)=(\d+)$/.exec(text) ?? [];
  if (name === undefined) throw new Error(`--module: must be NAME=COUNT, is ${text}`);
  return [name, Number(count)];
};

async function issue(
  values: Readonly<Record<string, string | string[] | undefined>>,
  now: Date,
): Promise<string> {
  const { key, holder, days } = values;
  if (typeof key !== 'string' || typeof holder !== 'string') throw new Error(usage);
  if (days !== undefined && !/^[1-9]\d{0,4}$/.test(String(days)))
    throw new Error(`--days: must be 1 to 99999, is ${String(days)}`);
  const terms = {
    id: newId<LicenceId>(),
    holder,
    modules: Object.fromEntries([values['module'] ?? []].flat().map(moduleOf)),
    features: [values['feature'] ?? []].flat(),
    issuedAt: now.toISOString(),
    expiresAt: days === undefined ? null : new Date(now.getTime() + Number(days) * dayMs).toISOString(),
  };
  return issueLicence(terms, JSON.parse(await readFile(key, 'utf8')) as JWK);
}

async function main(): Promise<string> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: 'string' },
      key: { type: 'string' },
      holder: { type: 'string' },
      days: { type: 'string' },
      feature: { type: 'string', multiple: true },
      module: { type: 'string', multiple: true },
    },
  });
  const [command] = positionals;
  if (command === 'key' && values.out !== undefined) return makeKey(values.out);
  if (command === 'issue') return issue(values, new Date());
  throw new Error(usage);
}

try {
  process.stdout.write(`${await main()}\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
