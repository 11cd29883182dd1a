/** What has to be undone whatever ends the run: its end, an error, a signal. Last in, first out. */
class Endings {
  #undo: (() => void | Promise<void>)[] = [];
  #ending: Promise<void> | null = null;

  add(undo: () => void | Promise<void>): void {
    this.#undo.push(undo);
  }

  /** For what ended by itself. */
  drop(undo: () => void | Promise<void>): void {
    this.#undo = this.#undo.filter((one) => one !== undo);
  }

  /** Undoes everything; whoever asks again waits for the same. */
  all(): Promise<void> {
    return (this.#ending ??= this.#run());
  }

  /** Undoes everything when the process is told to end, or whoever reads its output hangs up, and ends it. */
  onLeaving(say: (text: string) => void): void {
    const leave = (status: number): void => {
      void this.all().then(() => process.exit(status));
    };
    process.once('SIGINT', () => leave(130));
    process.once('SIGTERM', () => leave(143));
    process.once('SIGHUP', () => leave(129));
    process.once('uncaughtException', (error) => {
      say(`bench: ${error.message}`);
      leave(1);
    });
  }

  async #run(): Promise<void> {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) await undo();
  }
}

export const endings = new Endings();
