import { XMLParser } from 'fast-xml-parser';
import fc from 'fast-check';
import { type Fields, toJson, toXml } from './shape.js';

const modern = { stringValues: false, singleAsObject: true };
const old = { stringValues: true, singleAsObject: true };

describe('a reply in JSON', () => {
  it('has a list of one as an object, of many as an array, and leaves an empty one out', () => {
    expect(toJson({ host: [{ id: 1 }] }, modern)).toBe('{"host":{"id":1}}');
    expect(toJson({ host: [{ id: 1 }, { id: 2 }] }, modern)).toBe('{"host":[{"id":1},{"id":2}]}');
    expect(toJson({ host: [] }, modern)).toBe('{}');
  });

  it('keeps a list of one as an array where that is asked', () => {
    expect(toJson({ host: [{ id: 1 }] }, { ...modern, singleAsObject: false })).toBe('{"host":[{"id":1}]}');
  });

  it('has every value as a string in old releases, at every depth', () => {
    const fields = { id: 1, on: true, basic: { size: 2048 }, storage: [{ size: 1 }] };
    expect(JSON.parse(toJson(fields, old))).toEqual({
      id: '1',
      on: 'true',
      basic: { size: '2048' },
      storage: { size: '1' },
    });
  });

  it('leaves out what is absent and keeps what is empty', () => {
    expect(toJson({ a: undefined, b: null, c: '' }, modern)).toBe('{"c":""}');
  });
});

describe('a reply in XML', () => {
  it('has attributes, repeated elements and the root', () => {
    const fields: Fields = {
      host: [
        { '@type': 'kvm', id: 1 },
        { '@type': 'kvm', id: 2 },
      ],
    };
    expect(toXml('list', fields)).toBe(
      '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>' +
        '<list><host type="kvm"><id>1</id></host><host type="kvm"><id>2</id></host></list>',
    );
  });

  it('has an empty list as an empty element', () => {
    expect(toXml('list', { host: [] })).toMatch(/<list\/>$/);
  });

  it('carries any text unchanged to a reader', () => {
    const reader = new XMLParser({ parseTagValue: false, trimValues: false });
    const texts = fc.string().filter((text) => text.trim() !== '' && /^[\x20-\uD7FF]*$/.test(text));
    fc.assert(
      fc.property(texts, (text) => {
        expect(reader.parse(toXml('a', { b: text }))).toMatchObject({ a: { b: text } });
      }),
    );
  });
});
