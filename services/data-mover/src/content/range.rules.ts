/** What of a content is asked for: all of it, one part, or a part that is not there. Both ends count. */
export type AskedRange = { readonly first: number; readonly last: number } | 'all' | 'unsatisfiable';

const single = /^bytes=(\d*)-(\d*)$/;

/**
 * A Range header (RFC 9110, 14): one range of bytes. Whatever else it says is ignored, as the RFC has it: several ranges, other units. With
 * an If-Range that does not name the present content, all of it is sent.
 */
export const rangeOf = (
  sizeBytes: number,
  headers: { readonly range?: string | undefined; readonly ifRange?: string | undefined },
  etag: string | null,
): AskedRange => {
  const match = single.exec(headers.range ?? '');
  if (!match || (headers.ifRange !== undefined && headers.ifRange !== etag)) return 'all';
  const [, from = '', to = ''] = match;
  if (from === '' && to === '') return 'all';
  if (from === '') {
    const length = Math.min(Number(to), sizeBytes);
    return length === 0 ? 'unsatisfiable' : { first: sizeBytes - length, last: sizeBytes - 1 };
  }
  const first = Number(from);
  const last = to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
  if (to !== '' && Number(to) < first) return 'all';
  return first >= sizeBytes ? 'unsatisfiable' : { first, last };
};
