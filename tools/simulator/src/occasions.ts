import { type Random } from './random.js';
import { type World } from './world.js';

/** When something happens to an installation: never after the faults have ended. */
export class Occasions {
  constructor(
    private readonly world: World,
    private readonly random: Random,
  ) {}

  at(ms: number, happen: () => void): void {
    this.world.time.after(ms, () => {
      if (this.world.faults.active) happen();
    });
  }

  /** Again and again, so many milliseconds apart. */
  every(low: number, high: number, happen: () => void): void {
    this.at(this.random.whole(low, high), () => {
      happen();
      this.every(low, high, happen);
    });
  }
}
