import { type CollectedSpan } from '@casvault/testkit';

/** The spans of one trace as the tree they must be. */
export class TraceTree {
  readonly root: CollectedSpan;
  private readonly byId: ReadonlyMap<string, CollectedSpan>;

  /** Throws when there is not exactly one root, or a span whose parent is not there. */
  constructor(readonly spans: readonly CollectedSpan[]) {
    this.byId = new Map(spans.map((span) => [span.spanId, span]));
    const roots = spans.filter(({ parentSpanId }) => parentSpanId === null);
    const orphans = spans.filter((span) => span.parentSpanId !== null && this.parent(span) === null);
    const [root] = roots;
    const told = (list: readonly CollectedSpan[]) => list.map(titleOf).join(', ');
    if (root === undefined || roots.length > 1 || orphans.length > 0)
      throw new Error(`no tree of ${spans.length} spans: roots ${told(roots)}; orphans ${told(orphans)}`);
    this.root = root;
  }

  get services(): string[] {
    return [...new Set(this.spans.map(({ service }) => service))].sort();
  }

  /** Spans of that name, by its words or by a pattern, in the order of their begin. */
  all(name: string | RegExp): CollectedSpan[] {
    return this.spans.filter((span) =>
      typeof name === 'string' ? span.name === name : name.test(span.name),
    );
  }

  /** The only span of that name. */
  only(name: string | RegExp): CollectedSpan {
    const [span, ...others] = this.all(name);
    if (span === undefined || others.length > 0)
      throw new Error(
        `${others.length + (span ? 1 : 0)} spans ${name} among: ${this.spans.map(titleOf).join(', ')}`,
      );
    return span;
  }

  parent(span: CollectedSpan): CollectedSpan | null {
    return this.byId.get(span.parentSpanId ?? '') ?? null;
  }

  /** From the root to the span, both included: `service name`. */
  pathTo(span: CollectedSpan): string[] {
    const path: string[] = [];
    for (let at: CollectedSpan | null = span; at !== null; at = this.parent(at)) path.unshift(titleOf(at));
    return path;
  }
}

/** `later` began when `earlier` had ended. A span's begin is told in whole milliseconds, its end exactly. */
export const isFollowedBy = (earlier: CollectedSpan, later: CollectedSpan): boolean =>
  later.startedAt + 1_000_000n > earlier.endedAt;

const titleOf = ({ service, name }: CollectedSpan): string => `${service.replace(/^casvault-/, '')} ${name}`;
