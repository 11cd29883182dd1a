// Writes the CycloneDX bill of the packages that the image holds to standard output, out of package-lock.json alone: no network, no time, no
// random number, so that the same lock gives the same bytes. Not `npm sbom`: of a lock with workspaces it leaves out what development
// needs too (zod, pg).   usage: node sbom.mjs
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stdout } from 'node:process';
import { URL } from 'node:url';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const lock = JSON.parse(read('package-lock.json'));
// The services that are installed there, named once.
const services = [...read('docker/Dockerfile').matchAll(/--workspace (services\/[a-z-]+)/g)].map(
  ([, path]) => path,
);

/** Where `name` is found from within `path`, as Node looks for it; undefined: it is not in the lock. */
const resolve = (path, name) => {
  for (let here = path; ; here = here.replace(/(^|\/)[^/]*$/, '')) {
    const place = `${here === '' ? '' : `${here}/`}node_modules/${name}`;
    const found = lock.packages[place];
    if (found !== undefined) return found.link ? found.resolved : place;
    if (here === '') return undefined;
  }
};

/** What a package needs at run time: peers too, as npm installs them; of optional ones those that the lock has. */
const needs = (path) => {
  const {
    dependencies,
    optionalDependencies,
    peerDependencies = {},
    peerDependenciesMeta = {},
  } = lock.packages[path];
  const peers = Object.keys(peerDependencies).filter((name) => !peerDependenciesMeta[name]?.optional);
  return [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers]
    .map((name) => resolve(path, name))
    .filter((place) => place !== undefined);
};

const nameOf = (path) =>
  lock.packages[path].name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
const refOf = (path) => `${nameOf(path)}@${lock.packages[path].version}`;

const licensesOf = (license) => {
  if (license === undefined) return [];
  if (/ (OR|AND|WITH) /.test(license)) return [{ expression: license }];
  return [{ license: /^[A-Za-z0-9.+-]+$/.test(license) ? { id: license } : { name: license } }];
};

const componentOf = (path) => {
  const { version, license, integrity } = lock.packages[path];
  const [algorithm, digest] = integrity?.split('-') ?? [];
  const name = nameOf(path);
  return {
    'bom-ref': refOf(path),
    type: 'library',
    name,
    version,
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    ...(digest === undefined
      ? {}
      : {
          hashes: [
            { alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(digest, 'base64').toString('hex') },
          ],
        }),
    licenses: licensesOf(license),
  };
};

const places = new Set();
const waiting = ['', ...services];
for (let path = waiting.pop(); path !== undefined; path = waiting.pop())
  if (!places.has(path)) {
    places.add(path);
    waiting.push(...needs(path));
  }

const inOrder = (left, right) => (left < right ? -1 : left > right ? 1 : 0);
const byRef = new Map([...places].sort(inOrder).map((path) => [refOf(path), path]));
const refs = [...byRef.keys()].sort(inOrder);
const root = refOf('');
const graph = new Map(refs.map((ref) => [ref, new Set()]));
for (const path of places) for (const needed of needs(path)) graph.get(refOf(path)).add(refOf(needed));
for (const service of services) graph.get(root).add(refOf(service));

const bill = {
  $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  version: 1,
  metadata: { component: { ...componentOf(''), type: 'application' } },
  components: refs.filter((ref) => ref !== root).map((ref) => componentOf(byRef.get(ref))),
  dependencies: refs.map((ref) => ({ ref, dependsOn: [...graph.get(ref)].sort(inOrder) })),
};
const digest = createHash('sha256').update(JSON.stringify(bill)).digest('hex');
// A UUID of version 8 out of the content.
const uuid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
stdout.write(`${JSON.stringify({ ...bill, serialNumber: `urn:uuid:${uuid}` }, null, 2)}\n`);
