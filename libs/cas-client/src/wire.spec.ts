import { Fault } from '@casvault/contracts';
import fc from 'fast-check';
import iconv from 'iconv-lite';
import { decodeBody, listOf } from './wire.js';

const decode = (body: string | Buffer, type = 'application/json') => decodeBody(type, Buffer.from(body));

describe('the wire', () => {
  it.each([
    ['JSON array', '{"host":[{"id":"1"},{"id":"2"}]}', ['1', '2']],
    ['JSON list of one as an object', '{"host":{"id":"1"}}', ['1']],
    ['JSON empty object', '{}', []],
    ['JSON null list', '{"host":null}', []],
    ['JSON empty text', '{"host":""}', []],
    ['XML list', '<list><host><id>1</id></host><host><id>2</id></host></list>', ['1', '2']],
    ['XML list of one', '<?xml version="1.0"?><list><host><id>1</id></host></list>', ['1']],
    ['XML empty list', '<list/>', []],
    ['nothing', '', []],
  ])('reads a list: %s', (_, body, ids) => {
    expect(listOf(decode(body), 'host').map((row) => (row as { id: string }).id)).toEqual(ids);
  });

  it('keeps attributes under @name, and texts as texts', () => {
    expect(decode('<host type="kvm"><id>007</id></host>', 'application/xml')).toEqual({
      '@type': 'kvm',
      id: '007',
    });
  });

  it('reads XML in the encoding that it declares', () => {
    const xml = iconv.encode('<?xml version="1.0" encoding="GBK"?><host><name>主机</name></host>', 'gbk');
    expect(decode(xml, 'application/xml')).toEqual({ name: '主机' });
  });

  it('never takes another reply for an empty list', () => {
    expect(() => listOf(decode('{"domains":[{"id":"1"}]}'), 'domain')).toThrow(
      /domains instead of a list of domain/,
    );
    expect(() => listOf(decode('7'), 'domain')).toThrow(Fault);
  });

  it('names a web page and garbage as such', () => {
    expect(() => decode('<!DOCTYPE html><html></html>', 'text/html')).toThrow(/web page/);
    expect(() => decode('<host><id>1</host>')).toThrow(/XML that cannot be read/);
    expect(() => decode('{"host":')).toThrow(/JSON that cannot be read/);
    expect(() => decode('it works!')).toThrow(/neither JSON nor XML/);
  });

  it('answers any bytes with a value or a PLATFORM_PROTOCOL fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          expect(Fault.is(error) && error.code).toBe('PLATFORM_PROTOCOL');
        }
      }),
    );
  });
});
