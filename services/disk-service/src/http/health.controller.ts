import type { DiskServiceHealth } from '@casvault/contracts';
import { Libvirt } from '@casvault/libvirt';
import { Controller, Get, Header, Inject } from '@nestjs/common';
import { offersLiveExport } from '../host/live-export.js';
import { LiveCaptures } from '../host/live-capture.js';
import { Metrics } from '../metrics.js';
import { Openings } from '../opening/openings.js';

export const serviceVersionToken = Symbol('serviceVersion');
export const liveExportToken = Symbol('liveExport');

/** Open to all: it tells versions and counts, and nothing of any VM. */
@Controller()
export class HealthController {
  readonly #libvirt: Libvirt;
  readonly #live: LiveCaptures;
  readonly #openings: Openings;
  readonly #metrics: Metrics;
  readonly #version: string;
  readonly #liveExport: boolean;

  constructor(
    @Inject(Libvirt) libvirt: Libvirt,
    @Inject(LiveCaptures) live: LiveCaptures,
    @Inject(Openings) openings: Openings,
    @Inject(Metrics) metrics: Metrics,
    @Inject(serviceVersionToken) version: string,
    @Inject(liveExportToken) liveExport: boolean,
  ) {
    this.#libvirt = libvirt;
    this.#live = live;
    this.#openings = openings;
    this.#metrics = metrics;
    this.#version = version;
    this.#liveExport = liveExport;
  }

  /** 503 when libvirt does not answer: no capture can be made then. */
  @Get('v1/health')
  async health(): Promise<DiskServiceHealth> {
    const { libvirt, hypervisor } = await this.#libvirt.version({ timeoutMs: 5_000 });
    const qemu = hypervisor.replace(/^QEMU /, '');
    return {
      service: 'casvault-disk-service',
      version: this.#version,
      libvirtVersion: libvirt,
      qemuVersion: qemu,
      openings: this.#openings.count(),
      liveExport: this.#liveExport && offersLiveExport(libvirt, qemu),
    };
  }

  @Get('metrics')
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  async metrics(): Promise<string> {
    return this.#metrics.render({
      openings: this.#openings.count(),
      scratchFreeBytes: await this.#live.scratchFreeBytes(),
    });
  }
}
