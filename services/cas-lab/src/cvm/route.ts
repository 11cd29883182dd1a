import { type RequestBody } from '../rest/request-body.js';
import { type Fields } from '../rest/shape.js';
import { type UserRecord } from '../platform/state.js';
import { type Platform } from './platform.js';

export interface CasCall {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: RequestBody;
  readonly user: UserRecord;
  readonly platform: Platform;
}

/** A document with its root element, or nothing (204), or a status of its own. */
export type Answer =
  { readonly root: string; readonly fields: Fields } | { readonly status: 204 } | { readonly status: 404 };

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below `/cas/casrs`. */
  readonly path: string;
  /** Answered to users who are no administrators too. */
  readonly open?: boolean;
  readonly handle: (call: CasCall) => Promise<Answer> | Answer;
}

type Handle = Route['handle'];
export const get = (path: string, handle: Handle): Route => ({ method: 'GET', path, handle });
export const post = (path: string, handle: Handle): Route => ({ method: 'POST', path, handle });
export const put = (path: string, handle: Handle): Route => ({ method: 'PUT', path, handle });
export const del = (path: string, handle: Handle): Route => ({ method: 'DELETE', path, handle });

export const one = (root: string, fields: Fields): Answer => ({ root, fields });
export const list = (key: string, rows: readonly Fields[]): Answer => ({
  root: 'list',
  fields: { [key]: rows },
});
export const task = (fields: Fields): Answer => ({ root: 'taskMsg', fields });
export const done: Answer = { status: 204 };
/** Some calls say in the body whether they went well, at status 200. */
export const verdict = (errorCode: number, message: string): Answer => one('result', { errorCode, message });

/** `offset` counts rows; the page's size is `limit`, or `pageSize` for volumes. Without them: everything. */
export function page<T>(rows: readonly T[], query: Readonly<Record<string, string>>): T[] {
  const offset = Number(query['offset'] ?? 0);
  const size = Number(query['limit'] ?? query['pageSize'] ?? Number.POSITIVE_INFINITY);
  return rows.slice(offset, offset + size);
}

/** An id of the path or the query as the small number it is; NaN, which nothing has, for any other text. */
export const idOf = (text: string | undefined): number =>
  /^\d{1,9}$/.test(text ?? '') ? Number(text) : Number.NaN;
