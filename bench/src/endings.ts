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

  async #run(): Promise<void> {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) await undo();
  }
}

export const endings = new Endings();
