import { rangeOf } from './range.rules.js';

describe('F9: ranges of a download (RFC 9110)', () => {
  it.each([
    [undefined, 'all'],
    ['bytes=0-', { first: 0, last: 99 }],
    ['bytes=0-0', { first: 0, last: 0 }],
    ['bytes=10-19', { first: 10, last: 19 }],
    ['bytes=90-1000', { first: 90, last: 99 }],
    ['bytes=-10', { first: 90, last: 99 }],
    ['bytes=-1000', { first: 0, last: 99 }],
    ['bytes=100-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-4', 'all'],
    ['bytes=0-1,5-6', 'all'],
    ['bytes=-', 'all'],
    ['lines=0-1', 'all'],
  ])('%s of 100 bytes', (range, expected) => {
    expect(rangeOf(100, { range }, '"a"')).toEqual(expected);
  });

  it('sends all of a content that is not the one the client has a part of', () => {
    expect(rangeOf(100, { range: 'bytes=1-2', ifRange: '"b"' }, '"a"')).toBe('all');
    expect(rangeOf(100, { range: 'bytes=1-2', ifRange: '"a"' }, '"a"')).toEqual({ first: 1, last: 2 });
  });
});
