import { itemChanged, startTransfer, stopTransfer } from '@casvault/contracts';
import { type Messenger } from '@casvault/messaging';
import { type TransferEffect } from './transfer-steps.js';

/** Performs what every machine with a transfer asks of the world. */
export const performTransfer = async (
  client: Pick<Messenger, 'send' | 'publish'>,
  effect: TransferEffect,
  messageId: string,
): Promise<null> => {
  switch (effect.type) {
    case 'startTransfer':
      await client.send(startTransfer, effect.command, { messageId });
      return null;
    case 'stopTransfer':
      await client.send(stopTransfer, { transferId: effect.transferId }, { messageId });
      return null;
    case 'itemChanged':
      await client.publish(itemChanged, effect.change, { messageId });
      return null;
  }
};
