import { checkFeatures, importLicence, listLicences } from '@casvault/contracts';
import { OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Licences } from './licences.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class LicenceHandlers {
  constructor(@Inject(Licences) private readonly licences: Licences) {}

  @OnQuery(importLicence)
  async importLicence({ text }: Request<typeof importLicence>) {
    return this.licences.import(text);
  }

  @OnQuery(listLicences)
  async listLicences(request: Request<typeof listLicences>) {
    return this.licences.page(request);
  }

  @OnQuery(checkFeatures)
  async checkFeatures({ features }: Request<typeof checkFeatures>) {
    return { missing: await this.licences.missing(features) };
  }
}
