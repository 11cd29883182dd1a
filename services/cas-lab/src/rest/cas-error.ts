import { Fault } from '@casvault/contracts';
import iconv from 'iconv-lite';

/** The CVM's numbers for refusals that public clients know of; 11 is "unknown". */
export const casErrorCodes = {
  unknown: 11,
  noSuchHostPool: 304,
  noSuchHost: 402,
  noSuchSwitch: 603,
  noSuchVm: 1001,
  vmExists: 1002,
} as const;

/** A refusal as the CVM makes it: status 409 with `Error-Code` and `Error-Message`. */
export class CasError extends Error {
  override readonly name = 'CasError';

  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** The transient failure by which a CVM says: try again. */
export const busyText = '主机异常或者正在处理其它事务，请稍候重试。';

/** What any thrown thing is to the caller of the CVM. */
export function casErrorOf(error: unknown): CasError {
  if (error instanceof CasError) return error;
  if (Fault.is(error) && error.code === 'VM_NOT_FOUND') {
    return new CasError(casErrorCodes.noSuchVm, '虚拟机不存在。');
  }
  if (Fault.is(error) && error.code === 'ALREADY_EXISTS') {
    return new CasError(casErrorCodes.vmExists, `对象已经存在：${error.message}`);
  }
  return new CasError(
    casErrorCodes.unknown,
    `操作失败：${error instanceof Error ? error.message : String(error)}`,
  );
}

/** Header text in the CVM's bytes (GB18030), each byte as one character, as HTTP headers are written. */
export const gbkHeader = (text: string): string =>
  iconv.encode(text.replace(/[\r\n]+/g, ' '), 'gb18030').toString('latin1');
