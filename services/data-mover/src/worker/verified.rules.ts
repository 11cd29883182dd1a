import type { Fault, FaultJson, Verified } from '@casvault/contracts';
import type { VerifyResult } from '@casvault/data-path';

/** What is told of each: the whole goes in one message. */
const maxNamed = 100;

const keyOf = ({ details }: FaultJson): string => {
  const key = details?.['key'];
  return typeof key === 'string' ? key : '';
};

/** Each object once, with the first fault that was found in it. Memory: as `faults`. */
const objectsOf = (faults: readonly FaultJson[]): Verified['objects'] => {
  const first = new Map<string, FaultJson>();
  for (const fault of faults) {
    const key = keyOf(fault);
    if (!first.has(key)) first.set(key, fault);
  }
  return [...first].slice(0, maxNamed).map(([key, fault]) => ({ key, fault }));
};

/** What is told of what was found. */
export const verifiedOf = ({ checkedBytes, disks, faults }: VerifyResult): Verified => ({
  checkedBytes,
  disks: disks.map((disk) => ({ ...disk, damaged: disk.damaged.slice(0, maxNamed) })),
  objects: objectsOf(faults),
});

/**
 * Whether the fault that ended a verification is damage of the point: of its own manifest. Where the whole repository is not found (a mount
 * that went) nothing is said about the point.
 */
export const isOfPoint = (fault: Fault, pointId: string): boolean =>
  fault.kind === 'corrupt' && keyOf(fault.toJSON()).includes(pointId);
