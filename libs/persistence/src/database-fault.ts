import { Fault } from '@casvault/contracts';

const connectionCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  // Postgres: too many connections, shutdown by an operator, crash of another backend, starting up.
  '53300',
  '57P01',
  '57P02',
  '57P03',
]);
/** What pg, its pool and TypeORM (a connection lost between two statements of a transaction) say without a code. */
const connectionMessages =
  /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|not queryable|Query read timeout|Driver not Connected|Cannot use a pool after|query runner was already released/i;

interface DatabaseErrorShape {
  readonly code?: unknown;
  readonly constraint?: unknown;
  readonly driverError?: unknown;
}
const shapeOf = (error: unknown): DatabaseErrorShape => {
  if (typeof error !== 'object' || error === null) return {};
  const { driverError } = error as DatabaseErrorShape;
  return typeof driverError === 'object' && driverError !== null ? driverError : error;
};
const codeOf = (error: unknown): string => {
  const { code } = shapeOf(error);
  return typeof code === 'string' ? code : '';
};

const isConnectionError = (error: unknown): boolean => {
  const code = codeOf(error);
  if (connectionCodes.has(code) || code.startsWith('08')) return true;
  if (error instanceof AggregateError) return error.errors.some(isConnectionError);
  return error instanceof Error && connectionMessages.test(error.message);
};

/** Serialization failure or deadlock: the transaction is to be run again from its start. */
export const isConcurrencyError = (error: unknown): boolean => ['40001', '40P01'].includes(codeOf(error));

/** Whether a unique constraint (this one, if named) refused a row. */
export const isUniqueViolation = (error: unknown, constraint?: string): boolean =>
  codeOf(error) === '23505' && (constraint === undefined || shapeOf(error).constraint === constraint);

/** A database error as a Fault; what isn't about the connection passes through as it is. */
export const asDatabaseFault = (error: unknown): unknown => {
  if (Fault.is(error)) return error;
  if (isConnectionError(error) || isConcurrencyError(error))
    return new Fault('DEPENDENCY_UNAVAILABLE', 'the database is not available', { cause: error });
  return error;
};
