import { describeObjectStore } from './conformance.js';
import { MemoryObjectStore } from './memory-object-store.js';

describeObjectStore('MemoryObjectStore', async () => {
  const objects = new Map<string, Uint8Array>();
  return {
    store: new MemoryObjectStore(objects),
    other: new MemoryObjectStore(objects),
    stop: async () => undefined,
  };
});
