import { Fault } from '@casvault/contracts';
import { CasError, casErrorOf, gbkHeader } from './cas-error.js';

describe('a refusal', () => {
  it('has the number that clients know', () => {
    expect(casErrorOf(new Fault('VM_NOT_FOUND', 'x')).code).toBe(1001);
    expect(casErrorOf(new Fault('ALREADY_EXISTS', 'x')).code).toBe(1002);
    expect(casErrorOf(new Error('x')).code).toBe(11);
    expect(casErrorOf(new CasError(603, 'x')).code).toBe(603);
  });

  it('travels in a header as GBK bytes, on one line', () => {
    const header = gbkHeader('主机不存在。\r\nX');
    expect(header).not.toMatch(/[\r\n]/);
    expect([...header].every((char) => char.charCodeAt(0) < 256)).toBe(true);
    expect(new TextDecoder('gbk').decode(Buffer.from(header, 'latin1'))).toBe('主机不存在。 X');
  });
});
