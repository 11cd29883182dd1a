import { leaseSecondsSchema, openingIdSchema, openRequestSchema, type Opening } from '@casvault/contracts';
import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Put,
  Query,
  Req,
  Res,
  UseGuards,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Openings } from '../opening/openings.js';
import { AccessGuard } from './access.guard.js';

/** Address that exports listen on when the configuration names none: where the control request came to. */
export const nbdAddressToken = Symbol('nbdAddress');

const renewalSchema = z.object({ leaseSeconds: leaseSecondsSchema });
const closeQuerySchema = z.object({ keepCheckpoint: z.enum(['true', 'false']).default('false') });

/** An IPv4 address that came in over an IPv6 socket is the IPv4 one. */
const plainAddress = (address: string | undefined): string =>
  (address ?? '127.0.0.1').replace(/^::ffff:/, '');

@Controller('v1/openings')
@UseGuards(AccessGuard)
export class OpeningsController {
  readonly #openings: Openings;
  readonly #nbdAddress: string | null;

  constructor(@Inject(Openings) openings: Openings, @Inject(nbdAddressToken) nbdAddress: string | null) {
    this.#openings = openings;
    this.#nbdAddress = nbdAddress;
  }

  @Get()
  list(): { items: Opening[] } {
    return { items: this.#openings.list() };
  }

  @Get(':openingId')
  async get(@Param('openingId') id: string): Promise<Opening> {
    return await this.#openings.get(openingIdSchema.parse(id));
  }

  @Put(':openingId')
  async open(
    @Param('openingId') id: string,
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Opening> {
    const address = this.#nbdAddress ?? plainAddress(request.socket.localAddress);
    const opened = await this.#openings.open(
      openingIdSchema.parse(id),
      openRequestSchema.parse(body),
      address,
    );
    void reply.status(opened.isNew ? 201 : 200);
    return opened.opening;
  }

  @Post(':openingId/renewals')
  @HttpCode(200)
  async renew(@Param('openingId') id: string, @Body() body: unknown): Promise<Opening> {
    const { leaseSeconds } = renewalSchema.parse(body);
    return await this.#openings.renew(openingIdSchema.parse(id), leaseSeconds);
  }

  @Delete(':openingId')
  @HttpCode(204)
  async close(@Param('openingId') id: string, @Query() query: unknown): Promise<void> {
    const { keepCheckpoint } = closeQuerySchema.parse(query);
    await this.#openings.close(openingIdSchema.parse(id), keepCheckpoint === 'true');
  }
}
