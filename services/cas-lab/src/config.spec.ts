import { readConfig } from './config.js';

const dir = { CASVAULT_LAB_DIR: '/var/lab', CASVAULT_LAB_DISK_SERVICE: 'off' };

describe('the configuration', () => {
  it('needs a folder alone', () => {
    expect(readConfig(dir)).toMatchObject({
      hosts: 2,
      cvm: { address: '127.0.0.10', port: 8080, tlsPort: 8443 },
      release: 'E0780',
      diskService: null,
      vms: [{ name: 'lab-db-01', disks: [{ format: 'qcow2' }, {}] }],
    });
  });

  it('puts the CVM into the asked network', () => {
    expect(readConfig({ ...dir, CASVAULT_LAB_NET: '9' }).cvm.address).toBe('127.0.9.10');
  });

  it('takes machines as JSON and fills in their defaults', () => {
    const vms = JSON.stringify([{ name: 'a', disks: [{ sizeBytes: 1024 }], workload: {} }]);
    expect(readConfig({ ...dir, CASVAULT_LAB_VMS: vms }).vms).toMatchObject([
      { name: 'a', host: 1, workload: { pairsPerSecond: 50 }, disks: [{ bus: 'virtio', dataBytes: 0 }] },
    ]);
  });

  it('passes variables of OpenTelemetry, and no others, on to the disk services', () => {
    const env = {
      ...dir,
      CASVAULT_LAB_DISK_SERVICE: 'on',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x',
      HOME: '/h',
    };
    expect(readConfig(env).diskService?.env).toEqual({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x' });
  });

  it('names every problem at once', () => {
    const wrong = { CASVAULT_LAB_DIR: 'relative', CASVAULT_LAB_HOSTS: '99', CASVAULT_LAB_VMS: '{' };
    expect(() => readConfig(wrong)).toThrow(/LAB_DIR: .*\n.*LAB_HOSTS: .*\n.*LAB_VMS: must be JSON/s);
  });
});
