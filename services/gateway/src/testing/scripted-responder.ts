import type { Query } from '@casvault/contracts';
import { MessagingClient, NatsTransport, type MessageContext } from '@casvault/messaging';
import { TestLogger } from '@casvault/testkit';
import { FakeServices, queries } from './fake-services.js';

/** The scripted services behind a real NATS server. Only the queries that `serving` has are answered at all. */
export class ScriptedResponder {
  private constructor(
    readonly services: FakeServices,
    readonly client: MessagingClient,
    private readonly transport: NatsTransport,
  ) {}

  static async start(url: string, serving: (query: Query) => boolean): Promise<ScriptedResponder> {
    const services = new FakeServices();
    const client = await MessagingClient.connect({ url, service: 'scripted', logger: new TestLogger() });
    const transport = new NatsTransport(client, { graceMs: 100 });
    for (const contract of queries.filter(serving)) {
      const handler = (payload: unknown, { actor }: MessageContext): Promise<unknown> =>
        services.answer(contract, payload, actor ?? undefined);
      transport.addHandler(contract.subject, handler as never, false, { contract, options: {} });
    }
    await new Promise<void>((resolve) => transport.listen(() => resolve()));
    return new ScriptedResponder(services, client, transport);
  }

  async stop(): Promise<void> {
    await this.transport.close();
    await this.client.close();
  }
}
