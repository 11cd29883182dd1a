import { parsePrometheusText } from './prometheus-text.js';

const text = [
  '# HELP bytes_total Bytes, by "direction"',
  '# TYPE bytes_total counter',
  'bytes_total{direction="read",kind="a"} 5 1395066363000',
  'bytes_total{direction="read",kind="b"} 2.5e1',
  'bytes_total{direction="say \\"\\\\\\n\\"",} NaN',
  '# TYPE seconds histogram',
  'seconds_bucket{le="+Inf"} 2',
  'seconds_sum 0.5',
  'seconds_count 2',
  '# a word',
  '',
].join('\n');

describe('a scrape', () => {
  it('is read with types, labels and values', () => {
    const scrape = parsePrometheusText(text);
    expect([...scrape.types]).toEqual([
      ['bytes_total', 'counter'],
      ['seconds', 'histogram'],
    ]);
    expect(scrape.samples[2]?.labels).toEqual({ direction: 'say "\\\n"' });
    expect(scrape.sum('bytes_total', { direction: 'read' })).toBe(30);
    expect(scrape.sum('bytes_total', { direction: 'read', kind: 'a' })).toBe(5);
    expect(scrape.sum('seconds_count')).toBe(2);
    expect(scrape.sum('seconds_count', { le: '1' })).toBe(0);
  });

  it.each([
    ['an undeclared family', 'x 1\n'],
    ['a family twice', '# TYPE x gauge\n# TYPE x gauge\n'],
    ['a series twice', '# TYPE x gauge\nx{a="1",b="2"} 1\nx{b="2",a="1"} 1\n'],
    ['a part of no histogram', '# TYPE x gauge\nx_sum 1\n'],
    ['a bad name', '# TYPE 1x gauge\n'],
    ['a bad type', '# TYPE x gouge\n'],
    ['a bad number', '# TYPE x gauge\nx 1,5\n'],
    ['a label without quotes', '# TYPE x gauge\nx{a=1} 1\n'],
    ['a label with a raw quote', '# TYPE x gauge\nx{a="say "no""} 1\n'],
    ['a cut line', '# TYPE x gauge\nx 1'],
  ])('is refused for %s', (_, broken) => {
    expect(() => parsePrometheusText(broken)).toThrow();
  });
});
