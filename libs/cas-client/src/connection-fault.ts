import { Fault } from '@casvault/contracts';

/** Where the CVM listens, for messages. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

const certificateCodes = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'HOSTNAME_MISMATCH',
  'INVALID_CA',
  'INVALID_PURPOSE',
]);

const causes: Record<string, string> = {
  ECONNREFUSED: 'the connection was refused',
  ENOTFOUND: 'the name cannot be resolved',
  EAI_AGAIN: 'the name cannot be resolved now',
  EHOSTUNREACH: 'there is no route to the host',
  ENETUNREACH: 'there is no route to the network',
  ETIMEDOUT: 'it did not answer in time',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
};

const isObject = (error: unknown): error is object => typeof error === 'object' && error !== null;
const codeOf = (error: unknown): string =>
  isObject(error) && 'code' in error && typeof error.code === 'string' ? error.code : '';
const messageOf = (error: unknown): string =>
  isObject(error) && 'message' in error ? String(error.message) : String(error);

/** What opening or holding the connection failed with (R17: a CVM listens on one of 8443, 8080, 443, 80). */
export const connectionFault = (endpoint: Endpoint, error: unknown): Fault => {
  if (Fault.is(error)) return error;
  const code = codeOf(error);
  const where = `${endpoint.address}:${endpoint.port}`;
  const details = { address: endpoint.address, port: endpoint.port, cause: code };
  if (certificateCodes.has(code)) {
    return new Fault(
      'PLATFORM_CERTIFICATE_INVALID',
      `the certificate of ${where} is not trusted (${code}); install its authority or ignore SSL errors for this platform`,
      { details, cause: error },
    );
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) {
    return new Fault('PLATFORM_UNREACHABLE', `${where} does not speak TLS: check SSL and the port`, {
      details,
      cause: error,
    });
  }
  if (code.startsWith('HPE_')) {
    return new Fault('PLATFORM_PROTOCOL', `${where} does not answer in HTTP: check SSL and the port`, {
      details,
      cause: error,
    });
  }
  const why = causes[code] ?? messageOf(error);
  return new Fault(
    'PLATFORM_UNREACHABLE',
    `the CVM at ${where} cannot be reached: ${why} (a CVM listens on one of 8443, 8080, 443, 80)`,
    { details, cause: error },
  );
};
