import iconv from 'iconv-lite';
import { decodeHeaderText, isBusyText, isPermissionText } from './platform-text.js';

const busy = '主机异常或者正在处理其它事务，请稍候重试。';

describe('texts of the CVM', () => {
  it.each(['gbk', 'gb18030', 'utf8'])('reads a header in %s', (charset) => {
    expect(decodeHeaderText(iconv.encode(busy, charset).toString('latin1'))).toBe(busy);
  });
  it('reads plain and percent-encoded headers', () => {
    expect(decodeHeaderText('no such VM')).toBe('no such VM');
    expect(decodeHeaderText('%E4%B8%BB%E6%9C%BA')).toBe('主机');
    expect(decodeHeaderText('100% full')).toBe('100% full');
  });
  it('knows a busy host and a missing right', () => {
    expect(isBusyText(busy)).toBe(true);
    expect(isBusyText('虚拟机不存在')).toBe(false);
    expect(isPermissionText('操作员没有操作权限')).toBe(true);
    expect(isPermissionText(busy)).toBe(false);
  });
});
