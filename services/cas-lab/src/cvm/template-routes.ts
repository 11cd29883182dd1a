import { convertToTemplate, deploy, removeTemplate } from '../platform/templates.js';
import { type VmRecord } from '../platform/state.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asList, asNumber, asText } from '../rest/request-body.js';
import { eventTypes } from '../rest/task-board.js';
import { hostById } from './host-routes.js';
import { type Platform } from './platform.js';
import { del, done, get, idOf, list, page, post, task, type CasCall, type Route } from './route.js';
import { findPool } from './storage-routes.js';
import { namePattern } from './vm-create.js';
import { vmRows } from './vm-view.js';

const refuse = (message: string): CasError => new CasError(casErrorCodes.unknown, message);

function templateById(platform: Platform, id: number): VmRecord {
  const found = platform.machines.get(id);
  if (!found.isTemplate) throw refuse(`${found.name} 不是虚拟机模板。`);
  return found;
}

async function templateList({ query, platform }: CasCall) {
  const all = platform.machines.all.filter((vm) => vm.isTemplate).toSorted((a, b) => a.id - b.id);
  const shown = new Set(page(all, query));
  return list('domain', await vmRows(platform, (vm) => shown.has(vm)));
}

/** `opType` 2 makes a template of the machine itself; 1, a template beside it, is not emulated. All stands in the query. */
function addTemplate({ query, platform }: CasCall) {
  const vm = platform.machines.get(idOf(query['id']));
  if (query['opType'] !== '2') throw refuse('不支持的创建方式。');
  const words = { name: query['domainName'] ?? vm.name, description: query['desc'] ?? '' };
  return task(
    platform.onVm(vm, { name: '转换为模板', eventType: eventTypes.template }, () =>
      convertToTemplate(platform.machines, vm, words),
    ),
  );
}

async function deleteTemplate({ query, platform }: CasCall) {
  await removeTemplate(platform.machines, templateById(platform, idOf(query['id'])));
  return done;
}

/** The body is taken to be that of `/vm/clone`; `cloneMode` 1, a guess of the emulation and the client alike: linked. */
function deployVm({ body, platform }: CasCall) {
  const template = templateById(platform, asNumber(body['id']) ?? Number.NaN);
  const name = asText(body['domainName']) ?? '';
  if (!namePattern.test(name)) throw refuse('虚拟机名称不合法。');
  if (platform.machines.all.some((vm) => vm.name === name))
    throw new CasError(casErrorCodes.vmExists, '虚拟机已经存在。');
  const host = hostById(platform, asText(body['targetHostId']));
  const pool = findPool(platform, String(host.id), asText(asList(body['storage'])[0]?.['pool']));
  const plan = { name: '部署虚拟机', eventType: eventTypes.add, targetName: name };
  return task(
    platform.begin(plan, async () => {
      const title = asText(body['title']) ?? name;
      const linked = asNumber(body['cloneMode']) === 1;
      const { id } = await deploy(platform.machines, template, {
        name,
        title,
        description: asText(body['desc']) ?? '',
        hostId: host.id,
        poolPath: pool.path,
        linked,
      });
      return { targetId: id };
    }),
  );
}

/**
 * Templates: machines of status 0, never started, from which others are deployed. `vmTemplateList` is what several public clients
 * call, `deleteVmTemplate` and `addVmTemplate` (with its `opType`) what one each does; of `deploy` the path alone is certain.
 */
export const templateRoutes: Route[] = [
  get('/vmTemplate/vmTemplateList', templateList),
  post('/vmTemplate/addVmTemplate', addTemplate),
  del('/vmTemplate/deleteVmTemplate', deleteTemplate),
  post('/vm/deploy', deployVm),
];
