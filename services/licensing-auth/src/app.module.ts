import { rm, writeFile } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { type Host } from '@casvault/service-host';
import { type DynamicModule } from '@nestjs/common';
import { AccessHandlers, CLOCK } from './access.handlers.js';
import { Access } from './access.js';
import { type LicensingAuthConfig } from './config.js';
import { LicenceHandlers } from './licence.handlers.js';
import { observeLicences } from './licence-metrics.js';
import { LicenceStore } from './licence-store.js';
import { Licences } from './licences.js';
import { TokenStore } from './token-store.js';
import { UserStore } from './user-store.js';

class LicensingAuthModule {}

/** Tells the first administrator's password once: in the file that the configuration names, or on standard output. */
const announcer = (file: string | undefined) => async (userName: string, password: string) => {
  if (file === undefined)
    process.stdout.write(`\nFirst administrator: ${userName}   password: ${password}\n\n`);
  else {
    // A new file of its own: the mode of one that is there already would stay, and a link would be followed.
    await rm(file, { force: true });
    await writeFile(file, `${password}\n`, { mode: 0o600, flag: 'wx', flush: true });
  }
};

/** The only wiring of the service. */
export const licensingAuthModule = async (host: Host<LicensingAuthConfig>): Promise<DynamicModule> => {
  const { database, clock, logger, sealer, config } = host;
  if (!database) throw new Fault('BUG', 'licensing-auth runs with a database');
  const users = new UserStore(database);
  const tokens = new TokenStore(database);
  const sessionMs = config.CASVAULT_SESSION_MINUTES * 60_000;
  const access = new Access({ users, tokens, sealer, clock, logger, sessionMs });
  const keys = config.CASVAULT_LICENCE_KEYS;
  const licences = new Licences({ store: new LicenceStore(database), keys, clock, logger });
  observeLicences(licences, logger);
  await access.bootstrap(announcer(config.CASVAULT_BOOTSTRAP_PASSWORD_FILE));
  return {
    module: LicensingAuthModule,
    controllers: [AccessHandlers, LicenceHandlers],
    providers: [
      { provide: Access, useValue: access },
      { provide: TokenStore, useValue: tokens },
      { provide: Licences, useValue: licences },
      { provide: CLOCK, useValue: clock },
    ],
  };
};
