import {
  importLicence,
  licenceSchema,
  listLicences,
  newLicenceBodySchema,
  pageRequestSchema,
} from '@casvault/contracts';
import * as examples from './examples.js';
import { administering, reading, route, type Route } from './route.js';

const tag = 'Licences';

export const licenceRoutes: readonly Route[] = [
  route({
    id: 'importLicence',
    method: 'POST',
    path: '/licences',
    tag,
    summary: 'Import a licence file',
    description:
      'B1: the text of the file. It is verified here and each time that it is asked for, with the keys that this installation trusts. ' +
      'The same licence again changes nothing. A feature is licensed as long as any valid licence has it.',
    access: administering,
    body: newLicenceBodySchema,
    status: 200,
    reply: licenceSchema,
    faults: ['LICENCE_INVALID', 'ALREADY_EXISTS'],
    example: { body: { licence: examples.licenceText }, reply: examples.licence },
    serve: ({ ask, body }) => ask(importLicence, { text: body.licence }),
  }),
  route({
    id: 'listLicences',
    method: 'GET',
    path: '/licences',
    tag,
    summary: 'Licences, newest first',
    description: 'B1: whom they were issued to, what they cover, until when, and whether they are valid.',
    access: reading,
    query: pageRequestSchema,
    status: 200,
    reply: listLicences.reply,
    faults: [],
    example: { reply: examples.page(examples.licence) },
    serve: ({ ask, query }) => ask(listLicences, query),
  }),
];
