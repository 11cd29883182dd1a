import { type CallBody } from './caller.js';
import { type CasVmRow } from './vm.js';

/** A template (虚拟机模板) of the platform: a VM that is never started, from which others are deployed. */
export type CasTemplate = Pick<
  CasVmRow,
  'externalId' | 'uuid' | 'name' | 'title' | 'hostExternalId' | 'cpuCount' | 'memoryMiB'
>;

/** A row of `GET /vmTemplate/vmTemplateList`: that of a VM. */
export const templateOf = (row: CasVmRow): CasTemplate => {
  const { externalId, uuid, name, title, hostExternalId, cpuCount, memoryMiB } = row;
  return { externalId, uuid, name, title, hostExternalId, cpuCount, memoryMiB };
};

/** `opType` of `addVmTemplate`: 1 makes a template beside the VM, 2 of the VM itself. UNPROVEN: one public client alone shows it. */
export const convertItself = 2;

/** A VM that is to be made from a template. */
export interface Deployment {
  readonly templateId: string;
  readonly name: string;
  readonly hostId: string;
  readonly storageName: string;
  /** Layers over the template's disks; else whole copies. */
  readonly linked: boolean;
}

/** Body of `POST /vm/deploy`. UNPROVEN: taken to be that of `/vm/clone`; `cloneMode` 1 for a linked clone is a guess. */
export const deploymentBody = (wanted: Deployment): CallBody => ({
  root: 'vmCloneParameter',
  fields: {
    id: wanted.templateId,
    targetHostId: wanted.hostId,
    domainName: wanted.name,
    title: wanted.name,
    cloneMode: wanted.linked ? 1 : 0,
    storage: [{ dest: wanted.name, pool: wanted.storageName }],
  },
});
