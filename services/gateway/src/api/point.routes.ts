import {
  chainIdSchema,
  chainSchema,
  extendChain,
  getChain,
  contentFormatSchema,
  getPoint,
  listChains,
  listPoints,
  newImageBodySchema,
  newVolumeBodySchema,
  openContent,
  pointIdSchema,
  pointSchema,
  rollbackBodySchema,
  runSchema,
  startCreation,
  startRollback,
  type JobId,
  type RunId,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { Content, operating, reading, route, type Route } from './route.js';

const tag = 'Recovery points';
const chainParams = z.object({ chainId: chainIdSchema });

export const pointRoutes: readonly Route[] = [
  route({
    id: 'listPoints',
    method: 'GET',
    path: '/points',
    tag,
    summary: 'Recovery points',
    access: reading,
    query: listPoints.request,
    status: 200,
    reply: listPoints.reply,
    faults: [],
    example: { reply: examples.page(examples.point) },
    serve: ({ ask, query }) => ask(listPoints, query),
  }),
  route({
    id: 'getPoint',
    method: 'GET',
    path: '/points/{pointId}',
    tag,
    summary: 'One recovery point with its disks',
    access: reading,
    params: z.object({ pointId: pointIdSchema }),
    status: 200,
    reply: pointSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.point },
    serve: ({ ask, params }) => ask(getPoint, params),
  }),
  route({
    id: 'rollBack',
    method: 'POST',
    path: '/points/{pointId}/rollback',
    tag,
    summary: 'Roll the VM of a point, or some of its disks, back to it in place',
    description:
      'What the disks hold now is overwritten; `confirm` must be the present name of the VM. A running VM is shut down and started ' +
      'again; only blocks that differ are written. Before the first write a failure or a stop leaves the VM as it was; after it ' +
      'the VM stays off, the fault of the run says what each disk holds, and rolling back again finishes it. The next backup of the ' +
      'VM is a new full.',
    access: operating,
    params: z.object({ pointId: pointIdSchema }),
    body: rollbackBodySchema,
    status: 201,
    reply: runSchema,
    idempotent: true,
    location: '/runs/{id}',
    faults: ['NOT_FOUND', 'VM_NOT_FOUND', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: { confirm: examples.vm.name, diskIds: [examples.ids.disk] },
      reply: {
        ...examples.run,
        kind: 'rollback',
        jobName: `${examples.vm.name} back to ${examples.point.capturedAt}`,
      },
    },
    serve: ({ ask, params: { pointId }, body, resourceId }) =>
      ask(startRollback, { ...body, pointId, id: resourceId<JobId>() }),
  }),
  route({
    id: 'downloadDisk',
    method: 'GET',
    path: '/points/{pointId}/disks/{target}/content',
    tag,
    summary: 'Download a disk of a point',
    description:
      'As `raw` (the disk as it was, zeros included) with one `Range` of bytes, `If-Range` and `ETag`: 206, or 416 for a range that is ' +
      'not there. As `qcow2`: uncompressed, only what is not zero, without ranges. A mover of `group` streams it; the point is not ' +
      'deleted meanwhile. A download that ends before its `Content-Length` has failed.',
    access: operating,
    params: z.object({ pointId: pointIdSchema, target: openContent.request.shape.target }),
    query: z.object({
      format: contentFormatSchema.default('raw'),
      group: openContent.request.shape.group,
    }),
    status: 200,
    bytes: true,
    faults: ['NOT_FOUND', 'CONFLICT', 'POOL_UNREACHABLE', 'POOL_OBJECT_MISSING', 'POOL_OBJECT_DAMAGED'],
    example: {},
    serve: async ({ ask, params, query: { format, group } }) => {
      const { url, ticket, vmName } = await ask(openContent, { ...params, group });
      return new Content(`${url}?format=${format}`, ticket, `${vmName}-${params.target}.${format}`);
    },
  }),
  route({
    id: 'createVolume',
    method: 'POST',
    path: '/points/{pointId}/disks/{target}/volumes',
    tag,
    summary: 'Create a new disk from a disk of a point',
    description:
      'A new volume in the storage pool `storageName` of the host, with the bytes of the point; nothing that is there is overwritten. ' +
      'Its name is `name` and a suffix that tells the run item: `volumeName` of the item. With `attachTo` it is attached to that VM of ' +
      'the same host, as a dependent disk (S4), while the VM runs too: on a bus without hot plug the guest sees it after its next boot ' +
      '(R10). qcow2 disks cannot go to pools of block devices (S2). When the run fails or is stopped, the volume is removed.',
    access: operating,
    params: z.object({ pointId: pointIdSchema, target: openContent.request.shape.target }),
    body: newVolumeBodySchema,
    status: 201,
    reply: runSchema,
    idempotent: true,
    location: '/runs/{id}',
    faults: ['NOT_FOUND', 'VM_NOT_FOUND', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: {
        platformId: examples.ids.platform,
        hostId: examples.ids.host,
        storageName: 'defaultpool',
        name: `${examples.vm.name}-yesterday`,
        attachTo: examples.ids.vm,
      },
      reply: {
        ...examples.run,
        kind: 'restore',
        jobName: `disk vda of ${examples.vm.name} at ${examples.point.capturedAt}`,
      },
    },
    serve: ({
      ask,
      params: { pointId, target },
      body: { group, parallel, network, options, ...wanted },
      resourceId,
    }) =>
      ask(startCreation, {
        id: resourceId<JobId>(),
        pointId,
        target: { kind: 'disk', target, ...wanted },
        group,
        network,
        options,
        parallel,
      }),
  }),
  route({
    id: 'createImage',
    method: 'POST',
    path: '/points/{pointId}/images',
    tag,
    summary: 'Create an image from the system disk of a point',
    description:
      'A template (虚拟机模板) of the platform with the bytes of the point’s system disk, from which it can deploy VMs; disks of data are ' +
      'left out. CPU, memory and networks are those of the point unless they are asked otherwise. It is made as a VM of that name that is ' +
      'never started, and becomes a template in the last step: `imageName` and `imageId`, the CVM’s own, of the item. When the run fails ' +
      'or is stopped, it is removed. No VM or template may have its name (S8); qcow2 disks cannot go to pools of block devices (S2).',
    access: operating,
    params: z.object({ pointId: pointIdSchema }),
    body: newImageBodySchema,
    status: 201,
    reply: runSchema,
    idempotent: true,
    location: '/runs/{id}',
    faults: ['NOT_FOUND', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: {
        platformId: examples.ids.platform,
        hostId: examples.ids.host,
        storageName: 'defaultpool',
        name: `${examples.vm.name}-golden`,
        description: 'patched and sealed',
      },
      reply: {
        ...examples.run,
        kind: 'restore',
        jobName: `image ${examples.vm.name}-golden of ${examples.vm.name} at ${examples.point.capturedAt}`,
      },
    },
    serve: ({
      ask,
      params: { pointId },
      body: { group, parallel, network, options, ...wanted },
      resourceId,
    }) =>
      ask(startCreation, {
        id: resourceId<JobId>(),
        pointId,
        target: { kind: 'image', ...wanted },
        group,
        network,
        options,
        parallel,
      }),
  }),
  route({
    id: 'listChains',
    method: 'GET',
    path: '/chains',
    tag,
    summary: 'Chains of recovery points, by VM, pool or chosen disk',
    access: reading,
    query: listChains.request,
    status: 200,
    reply: listChains.reply,
    faults: [],
    example: { reply: examples.page(examples.chain) },
    serve: ({ ask, query }) => ask(listChains, query),
  }),
  route({
    id: 'getChain',
    method: 'GET',
    path: '/chains/{chainId}',
    tag,
    summary: 'One chain',
    access: reading,
    params: chainParams,
    status: 200,
    reply: chainSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.chain },
    serve: ({ ask, params }) => ask(getChain, params),
  }),
  route({
    id: 'extendChain',
    method: 'POST',
    path: '/chains/{chainId}/points',
    tag,
    summary: 'Add an incremental point to a chain',
    description:
      'Starts a run of the job that made the newest point of the chain, for the VM of the chain alone. The run tells the point.',
    access: operating,
    params: chainParams,
    status: 201,
    reply: runSchema,
    idempotent: true,
    location: '/runs/{id}',
    faults: ['NOT_FOUND', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: { reply: examples.run },
    serve: ({ ask, params: { chainId }, resourceId }) =>
      ask(extendChain, { chainId, runId: resourceId<RunId>() }),
  }),
];
