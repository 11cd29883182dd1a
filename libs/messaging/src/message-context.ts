/** What a handler knows besides the payload. */
export interface MessageContext {
  readonly subject: string;
  /** The sender's id of the message: the same in every delivery. A query has one of its own. */
  readonly messageId: string;
  /** From 1; a query has 1. */
  readonly attempt: number;
  /** On whose behalf, if the sender said so. */
  readonly actor: string | null;
  /** Aborts at a query's deadline, and when the process can wait no longer to end. */
  readonly signal: AbortSignal;
}
