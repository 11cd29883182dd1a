import { Controller, Module } from '@nestjs/common';
import { defineCommand, defineEvent, defineQuery, Fault } from '@casvault/contracts';
import { OnCommand, OnEvent, OnQuery, type MessageContext } from '@casvault/messaging';
import { z } from 'zod';
import { databaseShape, readConfig, runService, serviceShape, type Host } from '../src/index.js';

/** A small service with everything a real one has; the integration test runs it as a process. */
export const echo = defineQuery('inventory', 'echo', 1, {
  request: z.object({ text: z.string(), fail: z.boolean().default(false) }),
  reply: z.object({ text: z.string(), pid: z.number() }),
});
export const note = defineCommand('inventory', 'note', 1, { payload: z.object({ text: z.string() }) });
export const noted = defineEvent('inventory', 'noted', 1, { payload: z.object({ text: z.string() }) });
export const notes = defineQuery('inventory', 'notes', 1, {
  request: z.object({}),
  reply: z.object({ commands: z.array(z.string()), events: z.array(z.string()) }),
});

let host: Host;

@Controller()
class EchoHandlers {
  @OnQuery(echo)
  async echo({ text, fail }: z.output<typeof echo.request>, context: MessageContext) {
    if (fail) throw new Fault('VM_NOT_FOUND', `no vm ${text}`, { details: { text } });
    host.logger.info({ actor: context.actor, password: 'hidden-from-logs' }, 'echoed');
    return { text, pid: process.pid };
  }

  @OnCommand(note)
  async note({ text }: z.output<typeof note.payload>, { messageId }: MessageContext) {
    await host.database?.query('INSERT INTO note (kind, text) VALUES ($1, $2)', ['command', text]);
    await host.client.publish(noted, { text }, { messageId: `noted-${messageId}` });
  }

  @OnEvent(noted)
  async noted({ text }: z.output<typeof noted.payload>) {
    await host.database?.query('INSERT INTO note (kind, text) VALUES ($1, $2)', ['event', text]);
    host.logger.info({ text }, 'noted');
  }

  @OnQuery(notes)
  async notes() {
    const rows =
      (await host.database?.query<{ kind: string; text: string }[]>('SELECT * FROM note ORDER BY text')) ??
      [];
    const of = (kind: string) => rows.filter((row) => row.kind === kind).map((row) => row.text);
    return { commands: of('command'), events: of('event') };
  }
}

@Module({ controllers: [EchoHandlers] })
class EchoModule {}

if (process.argv[1] === import.meta.filename)
  await runService({
    name: 'echo-service',
    version: '0.0.1',
    config: () => readConfig(z.object({ ...serviceShape, ...databaseShape }), process.env),
    database: {
      tables: [],
      migrations: [{ name: '0001-note', sql: 'CREATE TABLE note (kind text NOT NULL, text text NOT NULL)' }],
    },
    module: (given) => {
      host = given;
      return EchoModule;
    },
  });
