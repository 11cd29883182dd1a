/** A dirty bitmap of a block node as QEMU keeps it now. */
export interface NodeBitmap {
  readonly name: string;
  /** It notes every write; false: it is disabled, or was not saved cleanly. */
  readonly recording: boolean;
  readonly persistent: boolean;
  /** A job or an export uses it. */
  readonly busy: boolean;
  /** It was not saved cleanly when its image was last open: it says nothing. */
  readonly inconsistent: boolean;
  readonly granularityBytes: number;
}

export interface BlockNode {
  readonly driver: string;
  /** The file or block device below the node; null: it is neither. */
  readonly file: string | null;
  readonly bitmaps: readonly NodeBitmap[];
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** QEMU names a node with options that are no defaults by all of them: `json:{"driver":"qcow2","file":{...}}`. */
function fileOf(name: string): string | null {
  if (!name.startsWith('json:')) return name.startsWith('/') ? name : null;
  try {
    let at: unknown = JSON.parse(name.slice('json:'.length));
    while (isFields(at)) {
      if (typeof at['filename'] === 'string') return at['filename'];
      at = at['file'];
    }
  } catch {
    // Cut off by QEMU at 4 KiB.
  }
  return null;
}

function bitmapOf(fields: Fields): NodeBitmap {
  return {
    name: textOf(fields['name']),
    recording: fields['recording'] === true,
    persistent: fields['persistent'] === true,
    busy: fields['busy'] === true,
    inconsistent: fields['inconsistent'] === true,
    granularityBytes: Number(fields['granularity'] ?? 0),
  };
}

/** The reply of `query-named-block-nodes`; what is no node is left out. */
export function parseBlockNodes(reply: unknown): BlockNode[] {
  const nodes = Array.isArray(reply) ? (reply as unknown[]).filter(isFields) : [];
  return nodes.map((node) => {
    const bitmaps = node['dirty-bitmaps'];
    return {
      driver: textOf(node['drv']),
      file: fileOf(textOf(node['file'])),
      bitmaps: Array.isArray(bitmaps) ? (bitmaps as unknown[]).filter(isFields).map(bitmapOf) : [],
    };
  });
}
