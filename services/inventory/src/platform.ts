import { type NetworkType, type Platform, type PlatformId, type Sealed } from '@casvault/contracts';

/** A registered platform with what is needed to speak to it. Secrets are sealed: only `CasAccess` opens them. */
export interface RegisteredPlatform extends Platform {
  readonly id: PlatformId;
  readonly sslIgnoreErrors: boolean;
  readonly password: Sealed;
  readonly diskService: { readonly network: NetworkType; readonly port: number; readonly token: Sealed };
}

/** As callers see it: without a secret, not even sealed. */
export const platformView = (platform: RegisteredPlatform): Platform => ({
  id: platform.id,
  name: platform.name,
  type: platform.type,
  address: platform.address,
  ssl: platform.ssl,
  port: platform.port,
  userName: platform.userName,
  version: platform.version,
  architecture: platform.architecture,
  state: platform.state,
  stateMessage: platform.stateMessage,
  lastSyncAt: platform.lastSyncAt,
  createdAt: platform.createdAt,
});

/** URL of the disk service on a host; an IPv6 address is set in brackets. */
export const diskServiceUrl = (hostIp: string, port: number): string =>
  `http://${hostIp.includes(':') ? `[${hostIp}]` : hostIp}:${port}`;
