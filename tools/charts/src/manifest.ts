import { parseAllDocuments } from 'yaml';

/** Anything that YAML can say. */
export type Tree = null | string | number | boolean | readonly Tree[] | { readonly [key: string]: Tree };
export type Branch = { readonly [key: string]: Tree };

/** A rendered object of Kubernetes. */
export interface Manifest extends Branch {
  readonly apiVersion: string;
  readonly kind: string;
}

/** Objects of a rendered chart, read as Kubernetes reads them: by YAML 1.1, where 0440 is octal. Throws for what is none. */
export const manifestsOf = (text: string): Manifest[] => {
  const manifests: Manifest[] = [];
  for (const document of parseAllDocuments(text, { version: '1.1', uniqueKeys: true })) {
    if (document.errors.length > 0) throw new Error(document.errors.map(({ message }) => message).join('\n'));
    const tree = document.toJS() as Tree;
    if (tree !== null) manifests.push(asManifest(tree));
  }
  return manifests;
};

const asManifest = (tree: Tree): Manifest => {
  const { apiVersion, kind } = branch(tree);
  if (typeof apiVersion !== 'string' || typeof kind !== 'string')
    throw new Error(`no object of Kubernetes: ${JSON.stringify(tree).slice(0, 200)}`);
  return tree as Manifest;
};

/** The tree as a map; an empty one if it is none. */
export const branch = (tree: Tree | undefined): Branch =>
  typeof tree === 'object' && tree !== null && !Array.isArray(tree) ? (tree as Branch) : {};

/** The tree as a list; an empty one if it is none. */
export const list = (tree: Tree | undefined): readonly Tree[] =>
  Array.isArray(tree) ? (tree as readonly Tree[]) : [];

/** The tree as a list of maps; an empty one if it is none. */
export const branches = (tree: Tree | undefined): Branch[] => list(tree).map(branch);

/** What stands at the end of the path, if it leads anywhere. */
export const at = (tree: Tree | undefined, ...path: readonly string[]): Tree | undefined =>
  path.reduce<Tree | undefined>((here, key) => branch(here)[key], tree);

/** A string, or nothing. */
export const text = (tree: Tree | undefined): string => (typeof tree === 'string' ? tree : '');

/** `Deployment casvault-gateway` */
export const titleOf = (manifest: Manifest): string =>
  `${manifest.kind} ${text(at(manifest, 'metadata', 'name'))}`;
