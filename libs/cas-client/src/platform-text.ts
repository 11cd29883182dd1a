import iconv from 'iconv-lite';

/**
 * The CVM's own texts. Error texts come as raw GBK/GB18030 bytes in a header, which HTTP parsers hand over as latin1;
 * some releases send UTF-8. Well-formed UTF-8 with a multi-byte character is hardly ever meaningful GB18030, so it is tried first.
 */
export const decodeHeaderText = (header: string): string => {
  const bytes = Buffer.from(header, 'latin1');
  if (bytes.every((byte) => byte < 0x80)) return decodePercent(header);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return iconv.decode(bytes, 'gb18030');
  }
};

const decodePercent = (text: string): string => {
  if (!/%[0-9A-F]{2}/i.test(text)) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** "Host abnormal or busy with other work, retry later": a passing state, the call may be sent again. */
export const isBusyText = (text: string): boolean =>
  /正在处理其[它他]事务|请稍[候后]再?重?试|is busy/i.test(text);

/** The operator lacks the right: "权限" is the word for a permission in every text of this kind. */
export const isPermissionText = (text: string): boolean =>
  /(无|没有|缺少).{0,12}权限|权限(不足|不够)|permission denied|not authori[sz]ed/i.test(text);
