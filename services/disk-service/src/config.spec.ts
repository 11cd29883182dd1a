import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigProblems, readConfig } from './config.js';

const token = 'x'.repeat(32);
const env = (settings: Record<string, string>): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(settings).map(([key, value]) => [`CASVAULT_DISK_SERVICE_${key}`, value]));
const problemsOf = (settings: Record<string, string>): string[] => {
  try {
    readConfig(env(settings));
  } catch (error) {
    if (error instanceof ConfigProblems) return error.message.split('\n');
    throw error;
  }
  return [];
};

describe('the configuration', () => {
  test('a token is all that it needs', () => {
    expect(readConfig({ ...env({ TOKEN: token }), PATH: '/bin' })).toEqual({
      address: '0.0.0.0',
      port: 8192,
      token,
      tls: null,
      libvirtUri: 'qemu:///system',
      nbdPorts: { first: 10_000, last: 30_000 },
      nbdAddress: null,
      nbdTlsDir: null,
      scratchDir: '/var/lib/casvault/disk-service/scratch',
      scratchReserveBytes: 1_073_741_824,
      stateDir: '/var/lib/casvault/disk-service/state',
      volumeDirs: ['/vms'],
      maxOpenings: 64,
      liveExport: true,
      logLevel: 'info',
      traces: false,
    });
  });

  test('all problems are told at once, and no secret with them', () => {
    const problems = problemsOf({
      TOKEN: 'short-secret',
      PORT: '0',
      NBD_PORTS: '5-1',
      VOLUME_DIRS: 'vms',
      TOKN: 'x',
    });
    expect(problems.map((line) => line.split(':')[0]?.replace('CASVAULT_DISK_SERVICE_', '')).sort()).toEqual([
      'NBD_PORTS',
      'PORT',
      'TOKEN',
      'TOKN',
      'VOLUME_DIRS',
    ]);
    expect(problems.join('\n')).not.toMatch(/short-secret/);
  });

  test('callers must be known by something', () => {
    expect(problemsOf({})).toEqual([expect.stringMatching(/callers must be known/)]);
    expect(problemsOf({ TOKEN: token, TLS_CERT: '/none' })).toEqual([
      expect.stringMatching(/without the other/),
    ]);
    expect(problemsOf({ TLS_CLIENT_CA: '/none' })).toEqual([expect.stringMatching(/TLS_CLIENT_CA: needs/)]);
  });

  test('a token and certificates come from files', () => {
    const dir = mkdtempSync(join(tmpdir(), 'casvault-config-'));
    const file = join(dir, 'file');
    writeFileSync(file, `${token}\n`);
    expect(readConfig(env({ TOKEN_FILE: file })).token).toBe(token);
    const tls = readConfig(env({ TLS_CERT: file, TLS_KEY: file, TLS_CLIENT_CA: file }));
    expect(tls).toMatchObject({ token: null, tls: { clientCa: `${token}\n` } });
    rmSync(dir, { recursive: true });
    expect(problemsOf({ TOKEN_FILE: file })).toContainEqual(
      expect.stringMatching(/TOKEN_FILE: .* can't be read \(ENOENT\)/),
    );
  });

  test('lists and switches', () => {
    const config = readConfig(
      env({ TOKEN: token, VOLUME_DIRS: '/vms:/data', NBD_TLS: 'x509', NBD_PORTS: '2000-2001' }),
    );
    expect(config).toMatchObject({
      volumeDirs: ['/vms', '/data'],
      nbdTlsDir: '/etc/pki/qemu',
      nbdPorts: { first: 2_000, last: 2_001 },
    });
  });
});
