/**
 * Where a set-up fails or does not end, the clearing up stumbles over what is not there: that error would hide the cause, so it is
 * left out.
 */
let unfinished = 0;
const { beforeAll: setUp, afterAll: clearUp } = globalThis;

globalThis.beforeAll = (work, ...rest) =>
  setUp(
    async () => {
      unfinished += 1;
      await work();
      unfinished -= 1;
    },
    ...rest,
  );

globalThis.afterAll = (work, ...rest) =>
  clearUp(
    async () => {
      try {
        await work();
      } catch (error) {
        if (unfinished === 0) throw error;
      }
    },
    ...rest,
  );
