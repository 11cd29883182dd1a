/** RFC 8288 link to the next page of a list: the same question with its cursor. Null at the end, or when it is no list. */
export const nextPageLink = (url: string, body: unknown): string | null => {
  if (typeof body !== 'object' || body === null || !('nextCursor' in body)) return null;
  if (typeof body.nextCursor !== 'string') return null;
  const [path = '/', query = ''] = url.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.set('cursor', body.nextCursor);
  return `<${path}?${parameters.toString()}>; rel="next"`;
};
