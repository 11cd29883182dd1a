import { connectionFault } from './connection-fault.js';

const endpoint = { address: 'cvm.example', port: 8443 };
const error = (code: string) => Object.assign(new Error('x'), { code });

describe('what a connection fails with', () => {
  it.each([
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'PLATFORM_CERTIFICATE_INVALID'],
    ['CERT_HAS_EXPIRED', 'PLATFORM_CERTIFICATE_INVALID'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'PLATFORM_CERTIFICATE_INVALID'],
    ['ECONNREFUSED', 'PLATFORM_UNREACHABLE'],
    ['ENOTFOUND', 'PLATFORM_UNREACHABLE'],
    ['EPROTO', 'PLATFORM_UNREACHABLE'],
    ['HPE_INVALID_CONSTANT', 'PLATFORM_PROTOCOL'],
  ])('%s is %s and names address and port', (code, expected) => {
    const fault = connectionFault(endpoint, error(code));
    expect(fault.code).toBe(expected);
    expect(fault.message).toContain('cvm.example:8443');
  });
});
