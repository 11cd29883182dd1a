/** What the process that holds the engine can be asked to do: plain data, over Node's IPC. */
export type EngineCall =
  | { readonly name: 'create'; readonly pool: string; readonly encrypted: boolean }
  | {
      readonly name: 'backup';
      readonly pool: string;
      readonly encrypted: boolean;
      readonly socket: string;
      /** Number of the point; its parent is the one before. */
      readonly point: number;
    }
  | {
      readonly name: 'restore';
      readonly pool: string;
      readonly encrypted: boolean;
      readonly socket: string;
      readonly point: number;
    };

export interface EngineReply {
  readonly error: string | null;
  readonly wallS: number;
  readonly cpuS: number;
}
