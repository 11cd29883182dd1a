import { type PortCheck } from '@casvault/contracts';

/** A port to be tried. */
export interface Probe {
  readonly role: PortCheck['role'];
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Listens only while a disk is open: that nothing listens now is no fault. */
  readonly isPassing: boolean;
}

/** A CVM listens on one of these. */
const cvmPorts = [8443, 8080, 443, 80];
/** The first and the last of those on which a disk service exports disks. */
const exportPorts = [10_000, 30_000];

interface Registered {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly diskService: { readonly port: number };
}

/** R17: the CVM on all ports that one may have, every CVK on its disk service and on both ends of the exports' ports. */
export const probesOf = (
  platform: Registered,
  hosts: readonly { readonly name: string; readonly ip: string }[],
): Probe[] => {
  const { name, address, port, diskService } = platform;
  const ports = [port, ...cvmPorts.filter((one) => one !== port)];
  return [
    ...ports.map((one): Probe => ({ role: 'cvm', name, address, port: one, isPassing: false })),
    ...hosts.flatMap((host): Probe[] => [
      { role: 'cvk', name: host.name, address: host.ip, port: diskService.port, isPassing: false },
      ...exportPorts.map((one): Probe => ({
        role: 'cvk',
        name: host.name,
        address: host.ip,
        port: one,
        isPassing: true,
      })),
    ]),
  ];
};

const words = { refused: 'nothing listens there', silent: 'no answer, as from behind a firewall' } as const;

/** R17: which of the ports is at fault. Of the CVM only the registered one is; the others tell where it listens instead. */
export const judgeAnswers = (
  platform: Pick<Registered, 'port'>,
  answered: readonly (Probe & Pick<PortCheck, 'answer'>)[],
): { checks: PortCheck[]; closed: string[] } => {
  const checks = answered.map(({ isPassing, ...told }): PortCheck => {
    const isNeeded = told.role === 'cvk' || told.port === platform.port;
    const isWell = told.answer === 'open' || (isPassing && told.answer === 'refused');
    return { ...told, isFault: isNeeded && !isWell };
  });
  const elsewhere = checks.filter(({ role, answer }) => role === 'cvm' && answer === 'open');
  const closed = checks.flatMap(({ role, name, address, port, answer, isFault }) => {
    if (!isFault || answer === 'open') return [];
    const open = elsewhere.map((one) => one.port).join(', ');
    const hint = role === 'cvm' && open !== '' ? `; open there: ${open}` : '';
    return [`${role.toUpperCase()} ${name} (${address}), port ${port}: ${words[answer]}${hint}`];
  });
  return { checks, closed };
};
