import { type NbdEndpoint } from '@casvault/block-source';

/** What the process that holds the engine can be asked to do: plain data, over Node's IPC. */
export type EngineCall =
  | { readonly name: 'create'; readonly pool: string; readonly encrypted: boolean }
  /** Ends the threads that rest: the next call starts its own. */
  | { readonly name: 'cool' }
  | {
      readonly name: 'backup';
      readonly pool: string;
      readonly encrypted: boolean;
      readonly endpoint: NbdEndpoint;
      /** The one that the server shows, of the changes since the parent. */
      readonly bitmap: string | null;
      /** Number of the point; its parent is the one before. */
      readonly point: number;
    }
  | {
      /** Takes one point out of the chain. */
      readonly name: 'remove';
      readonly pool: string;
      readonly point: number;
    }
  | {
      readonly name: 'restore';
      readonly pool: string;
      readonly encrypted: boolean;
      readonly endpoint: NbdEndpoint;
      readonly point: number;
    };

export interface EngineReply {
  /** Bytes that a removal wrote; null for other calls. */
  readonly writtenBytes: number | null;
  readonly error: string | null;
  readonly wallS: number;
  readonly cpuS: number;
}
