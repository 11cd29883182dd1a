/** Not read by scripts, not sent by other sites. */
const attributes = 'Path=/api; HttpOnly; SameSite=Strict';
export const cookieName = 'casvault_session';

export const sessionCookie = (token: string, expiresAt: string, secure: boolean): string =>
  `${cookieName}=${token}; Expires=${new Date(expiresAt).toUTCString()}; ${attributes}${secure ? '; Secure' : ''}`;

export const clearedCookie = (secure: boolean): string =>
  `${cookieName}=; Max-Age=0; ${attributes}${secure ? '; Secure' : ''}`;

export interface SentToken {
  readonly token: string;
  readonly from: 'header' | 'cookie';
}

/** The token of a request: the Authorization header before the cookie. Null when there is none, or none that can be one. */
export const sentToken = (headers: { authorization?: string; cookie?: string }): SentToken | null => {
  const bearer = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined) return { token: bearer, from: 'header' };
  if (headers.authorization !== undefined) return null;
  const pair = (headers.cookie ?? '')
    .split(';')
    .map((text) => text.trim())
    .find((text) => text.startsWith(`${cookieName}=`));
  const token = pair?.slice(cookieName.length + 1) ?? '';
  return /^[\x21-\x7e]{1,512}$/.test(token) ? { token, from: 'cookie' } : null;
};
