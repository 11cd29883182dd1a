/** Starts OpenTelemetry, loaded only when traces go somewhere; returns how to flush and end it. */
export async function startTraces(): Promise<() => Promise<void>> {
  const { NodeSDK } = await import('@opentelemetry/sdk-node');
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const sdk = new NodeSDK({
    serviceName: 'disk-service',
    traceExporter: new OTLPTraceExporter(),
    instrumentations: [],
  });
  sdk.start();
  return async () => {
    await sdk.shutdown();
  };
}
