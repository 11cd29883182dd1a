import { ConfigProblems, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

export const configSchema = z.object({
  ...serviceShape,
  CASVAULT_GATEWAY_ADDRESS: z.string().default('127.0.0.1').describe('Address of the API'),
  CASVAULT_GATEWAY_PORT: z.coerce
    .number()
    .int()
    .min(0)
    .max(65_535)
    .default(8088)
    .describe('Port of the API; 0: any free one'),
  CASVAULT_GATEWAY_TLS_CERT: z
    .string()
    .optional()
    .describe('PEM certificate chain; with it the API is HTTPS'),
  CASVAULT_GATEWAY_TLS_KEY: z.string().optional().describe('PEM private key of the certificate'),
  CASVAULT_GATEWAY_TRUSTED_PROXIES: z
    .string()
    .optional()
    .transform((text) =>
      (text ?? '')
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean),
    )
    .describe('Addresses or networks, by commas, whose X-Forwarded-For and -Proto are believed'),
});

export type GatewayConfig = z.output<typeof configSchema>;

/** Null: plain HTTP. Throws ConfigProblems for half of it. */
export const tlsOf = ({
  CASVAULT_GATEWAY_TLS_CERT: cert,
  CASVAULT_GATEWAY_TLS_KEY: key,
}: GatewayConfig): { cert: string; key: string } | null => {
  if (cert === undefined && key === undefined) return null;
  if (cert !== undefined && key !== undefined) return { cert, key };
  throw new ConfigProblems([
    'CASVAULT_GATEWAY_TLS_CERT: set it together with CASVAULT_GATEWAY_TLS_KEY, or neither',
  ]);
};

/** Reads the environment; throws ConfigProblems. */
export const gatewayConfig = (
  env: Readonly<Record<string, string | undefined>> = process.env,
): GatewayConfig => {
  const config = readConfig(configSchema, env);
  tlsOf(config);
  return config;
};
