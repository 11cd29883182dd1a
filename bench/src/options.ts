import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

export interface Options {
  readonly rounds: number;
  readonly sizeBytes: number;
  readonly seed: number;
  /** Folder in which the temporary one is made. */
  readonly dir: string;
  /** How long to wait for a quiet machine before each step. */
  readonly patienceS: number;
  /** Whether memory is touched before each step (see `touchMemory`). */
  readonly touch: boolean;
  /** Whether the stack of services is measured too. */
  readonly service: boolean;
  /** Whether a sparse disk of 1 TiB with 100 points is measured too. */
  readonly large: boolean;
  readonly writeResults: boolean;
  readonly cores: number;
}

export const usage = `usage: main.js [options]
  --rounds N       interleaved rounds, medians of which are shown (3)
  --size GIB       size of the generated disk (4)
  --seed N         what the disk is generated from (1)
  --dir FOLDER     where the temporary folder is made (/var/tmp)
  --patience S     wait at most so long for a quiet machine before each step (20)
  --no-touch       do not touch memory before each step
  --no-service     the bare engine and the peers only
  --no-large       not the sparse disk of 1 TiB with 100 points
  --write-results  write bench/RESULTS.md`;

/** Throws with a message for the user. */
export function parseOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    allowNegative: true,
    options: {
      rounds: { type: 'string', default: '3' },
      size: { type: 'string', default: '4' },
      seed: { type: 'string', default: '1' },
      dir: { type: 'string', default: '/var/tmp' },
      patience: { type: 'string', default: '20' },
      touch: { type: 'boolean', default: true },
      service: { type: 'boolean', default: true },
      large: { type: 'boolean', default: true },
      'write-results': { type: 'boolean', default: false },
    },
  });
  return {
    rounds: wholeNumber('rounds', values.rounds, 1, 100),
    sizeBytes: wholeNumber('size', values.size, 1, 1024) * 2 ** 30,
    seed: wholeNumber('seed', values.seed, 1, 2 ** 31 - 1),
    dir: values.dir,
    patienceS: wholeNumber('patience', values.patience, 0, 3600),
    touch: values.touch,
    service: values.service,
    large: values.large,
    writeResults: values['write-results'],
    cores: availableParallelism(),
  };
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new Error(`--${name} must be a whole number from ${least} to ${most}, not ${text}`);
  return value;
}
