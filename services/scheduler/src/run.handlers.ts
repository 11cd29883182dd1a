import {
  getRun,
  hookChanged,
  itemChanged,
  listRuns,
  stopRun,
  type HookChanged,
  type ItemChanged,
} from '@casvault/contracts';
import { OnEvent, OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { RunStore } from './run-store.js';
import { Runs } from './runs.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class RunHandlers {
  constructor(
    @Inject(Runs) private readonly runs: Runs,
    @Inject(RunStore) private readonly store: Pick<RunStore, 'page' | 'detail'>,
  ) {}

  @OnQuery(listRuns)
  async list(request: Request<typeof listRuns>) {
    return this.store.page(request);
  }

  @OnQuery(getRun)
  async get({ runId }: Request<typeof getRun>) {
    return this.store.detail(runId);
  }

  @OnQuery(stopRun)
  async stop({ runId }: Request<typeof stopRun>) {
    await this.runs.stop(runId);
    return {};
  }

  @OnEvent(itemChanged)
  async itemChanged(change: ItemChanged): Promise<void> {
    await this.runs.itemChanged(change);
  }
  @OnEvent(hookChanged)
  async hookChanged(change: HookChanged): Promise<void> {
    await this.runs.hookChanged(change);
  }
}
