import { runItemIdSchema, type EndedItem } from '@casvault/contracts';
import { Controller, Get, Inject, Param, Put, UseGuards } from '@nestjs/common';
import { Openings } from '../opening/openings.js';
import { AccessGuard } from './access.guard.js';

@Controller('v1/ended-items/:itemId')
@UseGuards(AccessGuard)
export class EndedItemsController {
  readonly #openings: Openings;

  constructor(@Inject(Openings) openings: Openings) {
    this.#openings = openings;
  }

  @Put()
  async end(@Param('itemId') id: string): Promise<EndedItem> {
    return await this.#openings.endItem(runItemIdSchema.parse(id));
  }

  @Get()
  get(@Param('itemId') id: string): EndedItem {
    return this.#openings.endedItem(runItemIdSchema.parse(id));
  }
}
