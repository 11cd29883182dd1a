/**
 * The releases that the emulation can claim to be. All are of the 7.0 line by the numbering that public clients show; what
 * each really answers is not public, so a few traits stand for what was seen to differ between releases.
 */
export const releases = ['E0306', 'E0710', 'E0730', 'E0760', 'E0780'] as const;
export type Release = (typeof releases)[number];

export interface ReleaseTraits {
  /** As `GET /cas/casrs/version` tells it. */
  readonly casVersion: string;
  /** Every JSON value comes as a string. */
  readonly stringValues: boolean;
  /** R9: external snapshots of machines that have incrementals. */
  readonly externalIncremental: boolean;
}

/** E0306 is one that a product need not support. */
export const releaseTraits: Readonly<Record<Release, ReleaseTraits>> = {
  E0306: { casVersion: 'V3.0 (E0306)', stringValues: true, externalIncremental: false },
  E0710: { casVersion: 'V7.0 (E0710)', stringValues: true, externalIncremental: false },
  E0730: { casVersion: 'V7.0 (E0730)', stringValues: true, externalIncremental: false },
  E0760: { casVersion: 'V7.0 (E0760)', stringValues: false, externalIncremental: false },
  E0780: { casVersion: 'V7.0 (E0780)', stringValues: false, externalIncremental: true },
};
