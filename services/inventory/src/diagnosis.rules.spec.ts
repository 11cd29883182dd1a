import { judgeAnswers, probesOf } from './diagnosis.rules.js';

const platform = { name: 'cas', address: '10.0.0.1', port: 8080, diskService: { port: 8192 } };
const hosts = [{ name: 'cvk1', ip: '10.0.0.11' }];
const probes = probesOf(platform, hosts);
const judged = (answerOf: (port: number) => 'open' | 'refused' | 'silent') =>
  judgeAnswers(
    platform,
    probes.map((probe) => ({ ...probe, answer: answerOf(probe.port) })),
  );

describe('R17: which ports are tried, and which is named', () => {
  it('R17: the registered port of the CVM first, then the others that one may have; three ports a CVK', () => {
    expect(probes.map(({ role, port }) => `${role} ${port}`)).toEqual([
      'cvm 8080',
      'cvm 8443',
      'cvm 443',
      'cvm 80',
      'cvk 8192',
      'cvk 10000',
      'cvk 30000',
    ]);
  });

  it('R17: exports listen only while a disk is open; that they refuse is no fault', () => {
    const { checks, closed } = judged((port) => (port === 8080 || port === 8192 ? 'open' : 'refused'));
    expect(closed).toEqual([]);
    expect(checks.some(({ isFault }) => isFault)).toBe(false);
  });

  it.each([
    ['the disk service', 8192, 'refused', /^CVK cvk1 \(10\.0\.0\.11\), port 8192: nothing listens there$/],
    ['the exports', 30_000, 'silent', /^CVK cvk1 \(10\.0\.0\.11\), port 30000: no answer/],
    ['the CVM', 8080, 'silent', /^CVM cas \(10\.0\.0\.1\), port 8080: .*; open there: 8443, 443, 80$/],
  ] as const)('R17: %s is named when it is closed', (_what, wrong, answer, message) => {
    const { closed } = judged((port) => (port === wrong ? answer : 'open'));
    expect(closed).toEqual([expect.stringMatching(message)]);
  });
});
