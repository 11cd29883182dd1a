import { type Contestant, type Figures } from './figures.js';

/** Of another contestant, and on its repository, the rescan of a disk that lies in the page cache: its speed is the tool's and not the disk's. */
export class WarmRescan implements Contestant {
  readonly name: string;
  readonly steps: Contestant['steps'];

  constructor(name: string, rescan: () => Promise<Figures>) {
    this.name = name;
    this.steps = { rescan };
  }

  async begin(): Promise<void> {
    // The repository is the other's.
  }

  async end(): Promise<void> {
    // As above.
  }
}
