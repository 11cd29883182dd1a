import { asList, asNumber, asText, parseJsonBody, parseXmlBody } from './request-body.js';

describe('a request', () => {
  it('means the same in XML and in JSON', () => {
    const xml = '<?xml version="1.0"?><domain><id>7</id><basic><desc>a &amp; b</desc></basic></domain>';
    const json = '{"id":"7","basic":{"desc":"a & b"}}';
    expect(parseXmlBody(xml)).toEqual(parseJsonBody(json));
  });

  it('may have no body at all', () => {
    expect(parseJsonBody('')).toEqual({});
    expect(parseXmlBody(' ')).toEqual({});
    expect(parseXmlBody('<domain/>')).toEqual({});
  });

  it('has a list as nothing, as one or as many', () => {
    expect(asList(undefined)).toEqual([]);
    expect(asList({ a: 1 })).toEqual([{ a: 1 }]);
    expect(asList([{ a: 1 }, { a: 2 }])).toHaveLength(2);
  });

  it('has numbers as numbers or as text', () => {
    expect([asNumber(5), asNumber('5'), asNumber('x'), asNumber(''), asNumber(undefined)]).toEqual([
      5,
      5,
      undefined,
      undefined,
      undefined,
    ]);
    expect([asText(5), asText(true), asText(''), asText({})]).toEqual(['5', 'true', undefined, undefined]);
  });
});
