/** How to be sure of the server and be known to it. */
export type NbdTls =
  | {
      readonly kind: 'x509';
      /** PEM of the authorities that may sign the server's certificate; the system's when absent. */
      readonly ca?: string;
      /** PEM of the client's certificate and key, where the server asks for one. */
      readonly cert?: string;
      readonly key?: string;
      /** Name that the server's certificate must carry; the host by default. */
      readonly servername?: string;
    }
  | { readonly kind: 'psk'; readonly identity: string; readonly key: Uint8Array };

export type NbdEndpoint =
  | { readonly host: string; readonly port: number; readonly exportName: string; readonly tls?: NbdTls }
  | { readonly path: string; readonly exportName: string };

/** The endpoint for messages; no secret in it. */
export const describeEndpoint = (endpoint: NbdEndpoint): string => {
  const where = 'path' in endpoint ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
  return `${where} export "${endpoint.exportName}"`;
};
