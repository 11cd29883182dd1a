import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asNumber, asText } from '../rest/request-body.js';
import { type ProfileRecord, type SwitchRecord } from '../platform/state.js';
import { type Fields } from '../rest/shape.js';
import { hostById } from './host-routes.js';
import { type Platform } from './platform.js';
import { del, done, get, idOf, list, one, post, type Route } from './route.js';

const switchFields = (vswitch: SwitchRecord): Fields => ({
  id: vswitch.id,
  hostId: vswitch.hostId,
  name: vswitch.name,
  mode: vswitch.mode,
  pnic: 'eth0',
  portNum: 256,
  address: vswitch.address,
  netmask: vswitch.address === '' ? '' : '255.255.255.0',
  isManage: vswitch.isManage ? 1 : 0,
  networkType: vswitch.networkType,
  status: 1,
  flag: 0,
});

const profileFields = (profile: ProfileRecord): Fields => ({
  id: profile.id,
  name: profile.name,
  description: profile.description,
  type: 0,
  enableVlan: profile.vlanId === null ? 0 : 1,
  vlanId: profile.vlanId ?? undefined,
  inbound: 0,
  outbound: 0,
});

const switchesOf = (platform: Platform, hostId: number): Fields[] =>
  platform.state.switches.filter((one) => one.hostId === hostId).map(switchFields);

function switchById(platform: Platform, id: string | undefined): SwitchRecord {
  const found = platform.state.switches.find((one) => one.id === idOf(id));
  if (!found) throw new CasError(casErrorCodes.noSuchSwitch, '虚拟交换机不存在。');
  return found;
}

function profileById(platform: Platform, id: string | undefined): ProfileRecord {
  const found = platform.state.profiles.find((one) => one.id === idOf(id));
  if (!found) throw new CasError(casErrorCodes.unknown, '网络策略模板不存在。');
  return found;
}

/** Virtual switches and network policy templates. */
export const networkRoutes: Route[] = [
  get('/host/id/:id/vswitch', ({ params, platform }) =>
    list('vSwitch', switchesOf(platform, hostById(platform, params['id']).id)),
  ),
  get('/host/id/:id/vswitch/:vsId', ({ params, platform }) =>
    one('vSwitch', switchFields(switchById(platform, params['vsId']))),
  ),
  get('/vswitch', ({ query, platform }) =>
    list(
      'vSwitch',
      query['hostId'] === undefined
        ? platform.state.switches.map(switchFields)
        : switchesOf(platform, hostById(platform, query['hostId']).id),
    ),
  ),
  get('/vswitch/info', ({ query, platform }) =>
    one('vSwitch', switchFields(switchById(platform, query['vsId']))),
  ),
  post('/vswitch', async ({ body, platform }) => {
    const name = asText(body['name']) ?? '';
    if (!/^[A-Za-z0-9_-]{1,15}$/.test(name))
      throw new CasError(casErrorCodes.unknown, '虚拟交换机名称不合法。');
    platform.state.switches.push({
      id: platform.file.nextId(),
      hostId: hostById(platform, asText(body['hostId'])).id,
      name,
      mode: asNumber(body['mode']) ?? 0,
      networkType: asText(body['networkType']) ?? 'service',
      address: asText(body['address']) ?? '',
      isManage: false,
    });
    await platform.file.save();
    return done;
  }),
  del('/vswitch/:id', async ({ params, platform }) => {
    const { switches } = platform.state;
    switches.splice(switches.indexOf(switchById(platform, params['id'])), 1);
    await platform.file.save();
    return done;
  }),
  get('/profile', ({ platform }) => list('portProfile', platform.state.profiles.map(profileFields))),
  get('/profile/:id', ({ params, platform }) =>
    one('portProfile', profileFields(profileById(platform, params['id']))),
  ),
  post('/profile', async ({ body, platform }) => {
    const name = asText(body['name']) ?? '';
    if (platform.state.profiles.some((one) => one.name === name)) {
      throw new CasError(1121, '网络策略模板已经存在。');
    }
    const id = platform.file.nextId();
    const description = asText(body['description']) ?? '';
    platform.state.profiles.push({ id, name, description, vlanId: asNumber(body['vlanId']) ?? null });
    await platform.file.save();
    return one('portProfile', profileFields(profileById(platform, String(id))));
  }),
  del('/profile/:id/:name', async ({ params, platform }) => {
    const { profiles } = platform.state;
    profiles.splice(profiles.indexOf(profileById(platform, params['id'])), 1);
    await platform.file.save();
    return done;
  }),
];
