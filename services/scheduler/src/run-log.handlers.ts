import { Fault, listRunLog } from '@casvault/contracts';
import { OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { RunLogStore } from './run-log-store.js';
import { RunStore } from './run-store.js';

@Controller()
export class RunLogHandlers {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(RunLogStore) private readonly log: RunLogStore,
  ) {}

  @OnQuery(listRunLog)
  async list(request: z.output<typeof listRunLog.request>) {
    const { runId } = request;
    if (!(await this.runs.find(runId))) throw new Fault('NOT_FOUND', `there is no run ${runId}`);
    return this.log.page(request);
  }
}
