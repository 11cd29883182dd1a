/**
 * Which releases of H3C CAS and UIS are supported on which architecture (C2). The table of the specification, and
 * nothing else: what is not in it is refused with the list.
 */
export type Architecture = 'x86_64' | 'aarch64';

const releases = [
  { product: 'CAS', release: 'E0710', architectures: ['x86_64'] },
  { product: 'CAS', release: 'E0730', architectures: ['x86_64'] },
  { product: 'CAS', release: 'E0760', architectures: ['x86_64', 'aarch64'] },
  { product: 'CAS', release: 'E0780', architectures: ['x86_64', 'aarch64'] },
  { product: 'UIS', release: 'E0712', architectures: [] },
  { product: 'UIS', release: 'E0721', architectures: [] },
  { product: 'UIS', release: 'E0742', architectures: ['x86_64'] },
  { product: 'UIS', release: 'E0750', architectures: ['x86_64'] },
] as const satisfies readonly { product: string; release: string; architectures: readonly Architecture[] }[];

export type CompatibilityVerdict =
  | { readonly verdict: 'supported'; readonly product: 'CAS' | 'UIS'; readonly release: string }
  | { readonly verdict: 'unsupported'; readonly reason: string };

const architectureNames: Record<Architecture, string> = { x86_64: 'x86_64', aarch64: 'arm' };

const supportedList = (architecture: Architecture): string =>
  releases
    .filter((row) => (row.architectures as readonly Architecture[]).includes(architecture))
    .map((row) => `H3C ${row.product} ${row.release}`)
    .join(', ');

/**
 * The release inside a version text: `V7.0 (E0730H05)` is E0730 with a patch. Null when there is none (a D-number is
 * a development build: it is not in the table).
 */
export const releaseOf = (version: string): string | null => /\b(E\d{4})(?!\d)/.exec(version)?.[1] ?? null;

/** Pure: the verdict on a version text as the CVM gives it. */
export const judgeCompatibility = (version: string, architecture: Architecture): CompatibilityVerdict => {
  const release = releaseOf(version);
  const row = releases.find((known) => known.release === release);
  if (row !== undefined && (row.architectures as readonly Architecture[]).includes(architecture))
    return { verdict: 'supported', product: row.product, release: row.release };
  const what = row === undefined ? `version "${version}"` : `H3C ${row.product} ${row.release}`;
  const on = architectureNames[architecture];
  return {
    verdict: 'unsupported',
    reason: `${what} is not supported on ${on}; supported there: ${supportedList(architecture)}`,
  };
};
