/** Runs `work` over the items in order, at most `width` at once. Ends when all have ended; then throws the first failure. */
export async function inLanes<T, L>(
  items: readonly T[],
  lanes: readonly L[],
  work: (item: T, index: number, lane: L) => Promise<void>,
): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const run = async (lane: L): Promise<void> => {
    while (next < items.length && failures.length === 0) {
      const index = next;
      next += 1;
      try {
        await work(items[index]!, index, lane);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from(lanes, run));
  if (failures.length > 0) throw failures[0];
}
