import { judgeCompatibility, releaseOf } from './compatibility.js';

describe('C2: versions', () => {
  it.each([
    ['V7.0 (E0710)', 'x86_64', true],
    ['V7.0 (E0710)', 'aarch64', false],
    ['V7.0 (E0730)', 'x86_64', true],
    ['V7.0 (E0730)', 'aarch64', false],
    ['V7.0 (E0760)', 'x86_64', true],
    ['V7.0 (E0760)', 'aarch64', true],
    ['V7.0 (E0780)', 'x86_64', true],
    ['V7.0 (E0780)', 'aarch64', true],
    ['V7.0 (E0712)', 'x86_64', false],
    ['V7.0 (E0721)', 'aarch64', false],
    ['V7.0 (E0742)', 'x86_64', true],
    ['V7.0 (E0742)', 'aarch64', false],
    ['V7.0 (E0750)', 'x86_64', true],
    ['V7.0 (E0750)', 'aarch64', false],
    ['V7.0 (E0730H05)', 'x86_64', true],
    ['V7.0 (D0899)', 'x86_64', false],
    ['V5.0 (E0530)', 'x86_64', false],
    ['V7.0 (E07800)', 'x86_64', false],
    ['', 'x86_64', false],
  ] as const)('%s on %s: supported %s', (version, architecture, supported) => {
    expect(judgeCompatibility(version, architecture).verdict).toBe(supported ? 'supported' : 'unsupported');
  });

  it('refuses with the list of what is supported on that architecture', () => {
    expect(judgeCompatibility('V5.0 (E0530)', 'aarch64')).toEqual({
      verdict: 'unsupported',
      reason: 'version "V5.0 (E0530)" is not supported on arm; supported there: H3C CAS E0760, H3C CAS E0780',
    });
    expect(judgeCompatibility('V7.0 (E0710)', 'aarch64')).toMatchObject({
      reason: expect.stringContaining('H3C CAS E0710 is not supported on arm') as string,
    });
  });

  it('reads the release out of a version text', () => {
    expect(releaseOf('CVK 2.0 (E0218)')).toBe('E0218');
    expect(releaseOf('V7.0 (E0760P01)')).toBe('E0760');
    expect(releaseOf('V7.0')).toBeNull();
  });
});
