import { type Clock, listBackupHosts, reportBackupHost } from '@casvault/contracts';
import { OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { BackupHostStore } from './backup-host-store.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

export const clockToken = Symbol('clock');

@Controller()
export class BackupHostHandlers {
  constructor(
    @Inject(BackupHostStore) private readonly hosts: BackupHostStore,
    @Inject(clockToken) private readonly clock: Clock,
  ) {}

  @OnQuery(reportBackupHost)
  async report(host: Request<typeof reportBackupHost>) {
    await this.hosts.report(host, this.clock.now());
    return {};
  }

  @OnQuery(listBackupHosts)
  async list(request: Request<typeof listBackupHosts>) {
    return this.hosts.page(request, this.clock.now());
  }
}
