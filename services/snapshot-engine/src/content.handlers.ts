import { keepReading, openContent, type Clock } from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Contents } from './contents.js';
import { ReadingStore } from './reading-store.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

export const clockToken = Symbol('clock');

@Controller()
export class ContentHandlers {
  constructor(
    @Inject(Contents) private readonly contents: Contents,
    @Inject(ReadingStore) private readonly readings: ReadingStore,
    @Inject(clockToken) private readonly clock: Clock,
  ) {}

  @OnQuery(openContent)
  async open(request: Request<typeof openContent>, { signal }: MessageContext) {
    return this.contents.open(request, signal);
  }

  @OnQuery(keepReading)
  async keep({ readingId }: Request<typeof keepReading>) {
    await this.readings.keep(readingId, this.clock.now());
    return {};
  }
}
