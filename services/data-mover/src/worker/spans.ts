import { Fault } from '@casvault/contracts';
import { SpanStatusCode, trace, type Attributes, type Span } from '@opentelemetry/api';

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

/** One span for each disk, from now until `work` ends; `bytesOf` tells what became of it. */
export const inDiskSpans = async <T>(
  targets: readonly string[],
  bytesOf: (target: string) => Attributes,
  work: () => Promise<T>,
): Promise<T> => {
  const spans = targets.map((target) =>
    tracer().startSpan(`transfer ${target}`, { attributes: { 'casvault.disk': target } }),
  );
  try {
    return await work();
  } catch (error) {
    for (const span of spans) endWith(span, error);
    throw error;
  } finally {
    spans.forEach((span, i) => {
      span.setAttributes(bytesOf(targets[i] ?? ''));
      span.end();
    });
  }
};
