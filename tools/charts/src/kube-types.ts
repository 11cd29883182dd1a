import { branch, titleOf, type Manifest, type Tree } from './manifest.js';

/** A field of a type of the Kubernetes API, as its client knows it. */
interface Field {
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}
/** Fields by name of a type; null for a name that is no type. */
export type KubeTypes = (type: string) => ReadonlyMap<string, Field> | null;

// By a name that the compiler does not follow: of the whole client only its tables of fields are read.
const models: string = '@kubernetes/client-node/dist/gen/models/all.js';

/** The types of the client: what the Kubernetes API takes, at the client's version. */
export const loadKubeTypes = async (): Promise<KubeTypes> => {
  const classes = (await import(models)) as Record<string, { getAttributeTypeMap?(): readonly Field[] }>;
  const known = new Map<string, ReadonlyMap<string, Field>>();
  return (type) => {
    const fields = classes[type]?.getAttributeTypeMap?.();
    if (fields === undefined) return null;
    const found = known.get(type) ?? new Map(fields.map((field) => [field.baseName, field]));
    known.set(type, found);
    return found;
  };
};

/** Kinds of other makers, without types in the client: what a check of their own looks at. */
const foreignGroups = new Set(['keda.sh', 'monitoring.coreos.com']);

/** Everything in an object that the Kubernetes API would refuse or silently drop: unknown kinds and fields, wrong types. */
export const typeProblems = (manifest: Manifest, types: KubeTypes): string[] => {
  const [version = '', group = ''] = manifest.apiVersion.split('/').reverse();
  if (foreignGroups.has(group)) return [];
  const type = `${version.charAt(0).toUpperCase()}${version.slice(1)}${manifest.kind}`;
  if (types(type) === null) return [`${titleOf(manifest)}: ${manifest.apiVersion} has no such kind`];
  return walk(type, manifest, types).map((problem) => `${titleOf(manifest)}${problem}`);
};

const walk = (type: string, tree: Tree, types: KubeTypes): string[] => {
  if (tree === null) return [`: is null, want ${type}`];
  const list = /^Array<(.*)>$/.exec(type)?.[1];
  if (list !== undefined) return walkList(list, tree, types);
  const entries = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  if (entries !== undefined) return walkMap(() => entries, tree, types, type);
  const fields = types(type);
  if (fields !== null && type !== 'IntOrString')
    return walkMap((key) => fields.get(key)?.type, tree, types, type);
  return isScalar(type, tree) ? [] : [`: ${describe(tree)}, want ${type}`];
};

const walkList = (type: string, tree: Tree, types: KubeTypes): string[] => {
  if (!Array.isArray(tree)) return [`: ${describe(tree)}, want a list`];
  return (tree as Tree[]).flatMap((one, index) =>
    walk(type, one, types).map((problem) => `[${index}]${problem}`),
  );
};

const walkMap = (
  typeOf: (key: string) => string | undefined,
  tree: Tree,
  types: KubeTypes,
  type: string,
): string[] => {
  if (typeof tree !== 'object' || Array.isArray(tree)) return [`: ${describe(tree)}, want ${type}`];
  return Object.entries(branch(tree)).flatMap(([key, value]) => {
    const own = typeOf(key);
    if (own === undefined) return [`.${key}: unknown field of ${type}`];
    return walk(own, value, types).map((problem) => `.${key}${problem}`);
  });
};

/** Quantities are strings here: the API also takes numbers, of which 0.5 and 1e3 have been read in more than one way. */
const isScalar = (type: string, tree: Tree): boolean => {
  if (type === 'any' || type === 'object') return true;
  if (type === 'IntOrString') return typeof tree === 'number' || typeof tree === 'string';
  if (type === 'Date' || type === 'V1MicroTime') return typeof tree === 'string';
  return typeof tree === type;
};

const describe = (tree: Tree): string => (Array.isArray(tree) ? 'list' : typeof tree);
