/** Values and damage of format 1, for property tests and fixtures. */
export {
  groupIndexes,
  ids32,
  manifests,
  pages,
  relocations,
  segments,
  trailers,
  uuids,
} from './arbitraries.js';
export { damages, decodeOrFault, faultCodeOf, spoil, type Damage } from './damage.js';
export {
  readSample,
  sampleDisks,
  sampleIds,
  sampleKey,
  sampleRepository,
  type Objects,
} from './memory-repository.js';
