export interface OddCalls {
  double: [number, number];
  /** Ends with an abort alone. */
  wait: [null, null];
  /** Does not even end with an abort. */
  stuck: [null, null];
  die: [null, null];
  /** The number of the thread. */
  self: [null, number];
}
