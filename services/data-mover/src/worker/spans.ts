import { Fault } from '@casvault/contracts';
import { context, SpanStatusCode, trace, type Attributes, type Span } from '@opentelemetry/api';

const tracer = () => trace.getTracer('casvault.data-mover');

const endWith = (span: Span, error: unknown): void => {
  const { code, message } = Fault.from(error);
  span.setAttribute('casvault.fault', code);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
};

/** Runs `work` in a span below the active one. */
export const inSpan = <T>(
  name: string,
  attributes: Attributes,
  work: (span: Span) => Promise<T>,
): Promise<T> =>
  tracer().startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      endWith(span, error);
      throw error;
    } finally {
      span.end();
    }
  });

/** Runs `allow` in a span `commit` that lasts until the work ends; the disks' spans end before: all their bytes are stored. */
type Committing = <T>(allow: () => Promise<T>) => Promise<T>;

/** One span for each disk, from now until their bytes are all there; `bytesOf` tells what became of each. */
export const inDiskSpans = async <T>(
  targets: readonly string[],
  bytesOf: (target: string) => Attributes,
  work: (committing: Committing) => Promise<T>,
): Promise<T> => {
  const open = targets.map((target) => ({
    span: tracer().startSpan(`transfer ${target}`, { attributes: { 'casvault.disk': target } }),
    found: () => bytesOf(target),
  }));
  const end = () => {
    for (const { span, found } of open.splice(0)) {
      span.setAttributes(found());
      span.end();
    }
  };
  const committing: Committing = (allow) => {
    end();
    const span = tracer().startSpan('commit');
    open.push({ span, found: () => ({}) });
    return context.with(trace.setSpan(context.active(), span), allow);
  };
  try {
    return await work(committing);
  } catch (error) {
    for (const { span } of open) endWith(span, error);
    throw error;
  } finally {
    end();
  }
};
