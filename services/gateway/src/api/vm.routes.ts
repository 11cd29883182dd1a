import {
  getVm,
  listBackupHosts,
  listVms,
  pageRequestSchema,
  vmIdSchema,
  vmSchema,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { reading, route, type Route } from './route.js';

export const vmRoutes: readonly Route[] = [
  route({
    id: 'listVms',
    method: 'GET',
    path: '/vms',
    tag: 'VMs',
    summary: 'VMs as last synchronised',
    description: '`search` is a part of the VM name, the host name or the host IP.',
    access: reading,
    query: listVms.request,
    status: 200,
    reply: listVms.reply,
    faults: [],
    example: { reply: examples.page(examples.vm) },
    serve: ({ ask, query }) => ask(listVms, query),
  }),
  route({
    id: 'getVm',
    method: 'GET',
    path: '/vms/{vmId}',
    tag: 'VMs',
    summary: 'One VM with its disks and network cards',
    access: reading,
    params: z.object({ vmId: vmIdSchema }),
    status: 200,
    reply: vmSchema,
    faults: ['NOT_FOUND', 'VM_NOT_FOUND'],
    example: { reply: examples.vm },
    serve: ({ ask, params }) => ask(getVm, params),
  }),
  route({
    id: 'listBackupHosts',
    method: 'GET',
    path: '/backup-hosts',
    tag: 'Backup hosts',
    summary: 'Backup hosts, online and offline',
    access: reading,
    query: pageRequestSchema,
    status: 200,
    reply: listBackupHosts.reply,
    faults: [],
    example: { reply: examples.page(examples.backupHost) },
    serve: ({ ask, query }) => ask(listBackupHosts, query),
  }),
];
