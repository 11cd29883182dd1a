# Casvault: `make demo` and `make test` do all the set-up that they need.
SHELL := /bin/sh
NODE := node_modules/.bin/node
STACK := $(NODE) --no-warnings tools/stack/dist/src/cli.js
JEST := $(NODE) --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js

.PHONY: help demo demo-k8s sbom up down status soak-lab soak-kill soak-stops test check lint layers dead format unit with-servers integration e2e build bench bench-control-plane soak clean setup-node setup-demo setup-test setup-tools

help:
	@echo "make demo   back up a running VM of an emulated CAS and restore it, byte for byte"
	@echo "make demo-k8s   image and chart on a kind or k3s cluster of this machine; DRY_RUN=1 only checks and tells the commands"
	@echo "make up     keep that stack running with its data;  make status;  make down stops it"
	@echo "make test   everything that CI runs: check, unit, integration, e2e"
	@echo "make soak   simulate SEEDS=n seeds of crashes and faults (1000), or replay one: SEED=s"
	@echo "make soak-lab   histories of SEEDS=n machines of STEPS=300 random steps on the whole stack, from SEED=s on"
	@echo "make soak-kill  SIGKILL at every durable step of backup, deletion and roll-back, until none is left"
	@echo "make soak-stops stop COUNT=n runs at instants drawn by SEED=s: how soon they are over, and the platform clean"
	@echo "make sbom   .var/sbom.cdx.json: the packages that the image holds (CycloneDX)"
	@echo "make bench  speed against borg, restic, qemu-img and the machine's limit, in one run"
	@echo "make bench-control-plane  all services with 1,000, 3,000 and 10,000 VMs: latencies, delays, CPU and memory"

demo: setup-demo build
	@$(STACK) demo

demo-k8s: build
	@$(NODE) --no-warnings tools/charts/dist/src/cli.js demo

# Out of the lock alone: the same lock gives the same bytes.
sbom:
	@mkdir -p .var
	@node tools/setup/sbom.mjs > .var/sbom.cdx.json
	@echo .var/sbom.cdx.json

up: setup-demo build
	@$(STACK) up

down:
	@test ! -e tools/stack/dist/src/cli.js || $(STACK) down

status: build
	@$(STACK) status

# The unit tests, the linter and the other checks one after the other are begun at once: none of them leaves a core idle
# while another has work left. What needs servers waits as long as it works: four at once keep two cores busy (three left a
# tenth of them idle), and both kinds are one run, so that neither ends with one suite alone.
test: setup-test build
	@$(MAKE) --no-print-directory --jobs=3 unit check
	@$(MAKE) --no-print-directory with-servers

build: setup-node
	@$(NODE) node_modules/typescript/bin/tsc -b

check: lint layers dead format

lint layers dead format: build
	@npm run --silent check:$@

unit: build setup-tools
	@$(JEST) --selectProjects unit --maxWorkers=2

with-servers: build setup-test
	@$(JEST) --selectProjects integration e2e --maxWorkers=4

integration: build setup-test
	@$(JEST) --selectProjects integration --maxWorkers=4

e2e: build setup-test
	@$(JEST) --selectProjects e2e --maxWorkers=4

# Histories of machines on the whole stack: SEEDS of them from SEED on, of STEPS steps each.
soak-lab: build setup-test
	@$(NODE) --no-warnings e2e/dist/src/history/main.js --seeds $(or $(SEEDS),1) --steps $(or $(STEPS),300) --seed $(or $(SEED),1)

# SIGKILL at every durable step, commits at both of their sides; one machine for each of WAYS (live,external-snapshot,internal-snapshot,offline).
soak-kill: build setup-test
	@$(NODE) --no-warnings e2e/dist/src/sweep/main.js $(if $(WAYS),--ways $(WAYS))

# G3: runs are stopped at COUNT instants that SEED draws.
soak-stops: build setup-test
	@$(NODE) --no-warnings e2e/dist/src/stops/main.js --count $(or $(COUNT),200) --seed $(or $(SEED),1)

bench: build
	@tools/setup/packages.sh bench
	@$(NODE) --no-warnings bench/dist/src/main.js $(BENCH_ARGS)

bench-control-plane: build
	@tools/setup/nats-server.sh >/dev/null
	@$(NODE) --no-warnings bench/dist/src/control-plane/main.js $(BENCH_ARGS)

soak: build
	@$(NODE) --no-warnings tools/simulator/dist/src/cli.js $(if $(SEED),seed $(SEED),$(or $(SEEDS),1000) $(or $(FIRST),1))

setup-node: node_modules/.installed

# Not `npm ci`: it refuses a lock without the optional packages of platforms that a registry does not carry. --no-save keeps
# the lock as it is; its versions are what gets installed.
node_modules/.installed: package-lock.json
	@command -v npm >/dev/null 2>&1 || { echo "Node.js 20 or newer with npm is needed" >&2; exit 1; }
	npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

setup-demo: setup-node
	@tools/setup/packages.sh demo
	@tools/setup/nats-server.sh >/dev/null

setup-test: setup-node setup-tools
	@tools/setup/packages.sh test
	@tools/setup/nats-server.sh >/dev/null

setup-tools:
	@tools/setup/helm.sh >/dev/null
	@tools/setup/prometheus.sh >/dev/null

clean:
	rm -rf .var .nx node_modules
	find libs services tools e2e bench -name dist -type d -prune -exec rm -rf {} +
	find . -name '*.tsbuildinfo' -not -path './node_modules/*' -delete
