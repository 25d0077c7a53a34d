# Every target makes its own virtual environment; nothing has to be installed by hand on Debian 12 with Python 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NPM_CLIENTS := tests/clients/node_modules
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# Four at a time, for many wait more than they work; a file's tests one after the other; the files in their order, as
# the longest are among the first.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder
FUZZ_INPUTS ?= 2000
LAB = PYTHONPATH=deploy/lab $(BIN)/python -m migd_lab

.DEFAULT_GOAL := help
.PHONY: help demo test test-clients test-guards test-crash test-packages test-xen test-xen-integrity test-xen-measure lab lab-stop lint lint-ansible man \
  docs packages bench brams brams-live soak load fuzz audit clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/.installed  ## watch migd speed up a job on an emulated pool (about a minute)
	@$(BIN)/migctl demo $(DEMO)

# What is needed is installed side by side. The tests start hundreds of processes, which must not compile migd each anew
# where the environment keeps Python from writing down what it compiled.
test:  ## run every check that fits in ten minutes
	@$(MAKE) --no-print-directory --jobs 3 $(NPM_CLIENTS)/.installed $(VENV)/.installed-tools $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory lint
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -m 'not clients and not packages and not xen and not crash and not guards' $(SIDE_BY_SIDE) $(PYTEST)

test-clients: $(NPM_CLIENTS)/.installed $(VENV)/.installed-clients  ## let every foreign client drive the emulated pool
	$(BIN)/pytest tests/clients $(PYTEST)

test-guards: $(VENV)/.installed-dev  ## switch each guard of the core off in turn: the soak's checker finds it out (two minutes)
	$(BIN)/pytest tests/sim/test_soak_without_guards.py -n 2 $(PYTEST)

test-crash: $(VENV)/.installed-dev  ## kill controllers and agents as processes at the worst moments (two minutes)
	$(BIN)/pytest tests/controller/test_killed_processes.py $(PYTEST)

test-packages: $(VENV)/.installed-dev $(VENV)/.installed-machines  ## as root: install, upgrade and purge the packages on bare Debian machines
	$(BIN)/pytest tests/packages --durations 0 $(PYTEST)

test-xen: $(VENV)/.installed-dev  ## as root: boot real Xen under QEMU, and let migd measure and move real guests
	$(LAB) --name test stop
	$(BIN)/pytest tests/xen/test_real_xen.py --durations 0 $(PYTEST)

test-xen-integrity: $(VENV)/.installed-dev  ## as root: 20 migrations by hand of a guest under probe, and probes that are killed: none may harm it (an hour)
	$(LAB) --name integrity stop
	$(BIN)/pytest tests/xen/test_probe_on_xen.py tests/xen/test_integrity.py --durations 0 $(PYTEST)

test-xen-measure: $(VENV)/.installed-dev  ## as root: `migctl measure migration` and `measure guest` with an MPI program on real Xen (half an hour)
	$(LAB) --name test stop
	$(BIN)/pytest tests/xen/test_measure_on_xen.py --durations 0 $(PYTEST)

lab: $(VENV)/.installed  ## as root: boot real Xen hosts with guests and migd on them, and say how to use them
	$(LAB) start $(LAB_START)

lab-stop: $(VENV)/.installed  ## end what `make lab` started
	$(LAB) stop

lint: $(VENV)/.installed-dev  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

lint-ansible: $(VENV)/.installed-ansible  ## what ansible-lint thinks of the role, by its strictest profile
	$(BIN)/ansible-lint --offline --strict --profile production deploy/ansible

man: $(VENV)/.installed  ## write a manual page for each command of migctl, in build/man
	$(BIN)/python -m migd_cli.man build/man

# Not --quiet: mkdocs then counts no warning, and a strict build passes whatever leads nowhere.
docs: $(VENV)/.installed-docs  ## build the documentation's site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

packages: $(VENV)/.installed-dev  ## build the Debian packages migd-agent, migd-controller and migctl, in dist
	PIP=$(CURDIR)/$(BIN)/pip deploy/packages.sh dist

load: $(VENV)/.installed-dev  ## 1,000 agents against one controller for ten minutes, then trouble on top; LOAD="--seconds 60" shortens it
	@$(BIN)/python -m benchmarks._load $(LOAD)

fuzz: $(VENV)/.installed-dev  ## inputs that nobody meant, for each parser; FUZZ_INPUTS says how many for each
	FUZZ_INPUTS=$(FUZZ_INPUTS) $(BIN)/pytest tests/test_fuzz.py -n 2 $(PYTEST)

audit: $(VENV)/.installed-audit  ## ask whether a pinned dependency has a known vulnerability; needs the network
	$(BIN)/python deploy/audit.py constraints.txt

bench: $(VENV)/.installed-bench  ## measure, and hold the figures against the goals: a table, and JSON; BENCH="balance colocate" picks
	@$(BIN)/python -m benchmarks $(BENCH)

brams: $(VENV)/.installed  ## a 48-hour forecast in virtual time, under migd and others; BRAMS="--seed 7 --record build/brams"
	@$(BIN)/python -m migd_sim.run.forecast $(BRAMS)

brams-live: $(VENV)/.installed-bench  ## a 48-hour forecast with everything real but the hosts, some hours long; BRAMS="--faster 24" halves that
	@$(BIN)/python -m benchmarks._brams_live $(BRAMS)

soak: $(VENV)/.installed  ## ten minutes of migd's core with everything going wrong; SOAK="--seed N" tells of one again
	@$(BIN)/python -m migd_sim.run.soak $(SOAK)

clean:  ## remove the virtual environment and all caches
	rm -rf $(VENV) $(NPM_CLIENTS) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build

# A bare Debian has python3 without the venv module; root may add it, anybody else is told how to.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "migd needs Python 3.11 or newer; say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >&2; } \
	  || { echo "Python's venv module is missing; as root: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[controller,xapi,cli,top,report]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.installed-ansible: $(VENV)/.installed-dev
	$(PIP) install --constraint constraints.txt --editable '.[ansible]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(VENV)/.installed-audit: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[audit]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@touch $@

# Tests of the traffic matrix make network namespaces, which only root may, those of the page drive Chromium, and those of
# the journal a PostgreSQL server; where these are missing and nobody may install them, their tests are skipped.
$(VENV)/.installed-tools: $(BIN)/python tests/deploy/fetch_promtool.py Makefile
	$(BIN)/python tests/deploy/fetch_promtool.py $(VENV)/tools
	@[ "$$(id -u)" != 0 ] || { command -v nft && command -v ip && command -v ping && command -v chromium && command -v shellcheck && \
	  command -v zsh && command -v fish && ls -d /usr/lib/postgresql/*/bin; } >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  nftables iproute2 iputils-ping chromium fonts-dejavu-core shellcheck postgresql-15 zsh fish; } >&2
	@touch $@

$(VENV)/.installed-machines: $(BIN)/python
	@command -v systemd-nspawn && command -v mmdebstrap && command -v ip >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd-container mmdebstrap iproute2; } >&2
	@touch $@

$(NPM_CLIENTS)/.installed: tests/clients/package-lock.json $(VENV)/.installed-dev
	$(BIN)/npm ci --prefix tests/clients --ignore-scripts --loglevel error
	@touch $@

$(VENV)/.installed-clients: $(VENV)/.installed-dev tests/clients/fetch.py
	$(PIP) install --constraint constraints.txt --editable '.[clients]'
	$(BIN)/python tests/clients/fetch.py $(VENV)/clients
	@touch $@
