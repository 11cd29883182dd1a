import { checkpointNameSchema, type Checkpoint } from '@casvault/contracts';
import { Controller, Delete, Get, HttpCode, Inject, Param, UseGuards } from '@nestjs/common';
import { z } from 'zod';
import { Openings } from '../opening/openings.js';
import { AccessGuard } from './access.guard.js';

const vmUuidSchema = z.guid().toLowerCase();

@Controller('v1/vms/:uuid/checkpoints')
@UseGuards(AccessGuard)
export class CheckpointsController {
  readonly #openings: Openings;

  constructor(@Inject(Openings) openings: Openings) {
    this.#openings = openings;
  }

  @Get()
  async list(@Param('uuid') uuid: string): Promise<{ items: Checkpoint[] }> {
    return { items: await this.#openings.checkpoints(vmUuidSchema.parse(uuid)) };
  }

  @Delete(':name')
  @HttpCode(204)
  async remove(@Param('uuid') uuid: string, @Param('name') name: string): Promise<void> {
    await this.#openings.removeCheckpoint(vmUuidSchema.parse(uuid), checkpointNameSchema.parse(name));
  }
}
