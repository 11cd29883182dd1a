import { type FastifyInstance } from 'fastify';
import { type CvmListener } from './control-server.js';

export interface ListenerPlan {
  readonly address: string;
  readonly port: number;
  readonly make: () => FastifyInstance;
}

/** Listens with freshly made servers: one that was closed can't be opened again. */
export class CvmPorts implements CvmListener {
  readonly #plans: readonly ListenerPlan[];
  #servers: FastifyInstance[] = [];

  constructor(plans: readonly ListenerPlan[]) {
    this.#plans = plans;
  }

  get listening(): boolean {
    return this.#servers.length > 0;
  }

  async listen(): Promise<void> {
    if (this.listening) return;
    for (const { make, address, port } of this.#plans) {
      const server = make();
      this.#servers.push(server);
      await server.listen({ host: address, port });
    }
  }

  async close(): Promise<void> {
    for (const server of this.#servers.splice(0)) await server.close();
  }
}
