# The same commands by hand and in CI. Needs uv, or Python 3.11 or newer with venv; everything goes into .venv.
#   make quickstart PYTHON=python3.12     another interpreter
#   make test ARGS="tests/test_space.py"  some of the tests
#   make bench DATA_DIR=~/data            where CIFAR-10 lies, or is downloaded to
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TPU_VENV := .venv-tpu
TPU_STAMP := $(TPU_VENV)/.installed
TPU ?=
EXTRAS := dev
DATA_DIR ?= ./data
CURVES ?= benchmarks/curves
ARGS ?=
# Processes that run tests side by side: one more than there are processors, since the one with Ray's tests mostly waits.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
UV := $(shell command -v uv 2>/dev/null)

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
UV_PYTHON := >=3.11
else
UV_PYTHON := $(PYTHON)
endif

.PHONY: help install quickstart test test-full test-cluster test-projects tpu-env test-tpu check dist chaos mutants bench bench-scale bench-search docs clean

help: ## what there is (the default)
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

install: $(STAMP) ## .venv with the tested versions; does nothing while it is up to date

# pip and uv skip what is installed already, so an interrupted installation goes on where it was.
$(STAMP): pyproject.toml constraints.txt
ifneq ($(UV),)
	@echo "Installing into $(VENV) by constraints.txt with uv: some 3 GB to fetch the first time, 6.5 GB on disk."
	@uv venv --quiet --allow-existing --python '$(UV_PYTHON)' $(VENV)
	@uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[$(EXTRAS)]'
else
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is missing or older than 3.11; name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) by constraints.txt with pip: some 3 GB to fetch the first time, 6.5 GB on disk."
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make an environment: apt install python3-venv, or install uv, or name another PYTHON=" >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	  --constraint constraints.txt --editable '.[$(EXTRAS)]' \
	  | { grep --line-buffered -oE '(Downloading|Using cached) [^ ]+ \([0-9]{3,}(\.[0-9]+)? .B\)' | grep --line-buffered MB || true; }
endif
	@touch $@

quickstart: $(STAMP) ## a first sweep: LitModel on 1,797 real digits, a minute or two
	@$(BIN)/sweep launch quickstart --new-name

test: $(STAMP) ## every room, each test at most 5 s: some minutes on two cores (ARGS="-k space")
	$(BIN)/python -m pytest -m 'not slow and not cluster' --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS)

test-full: $(STAMP) ## all tests that need no hosts, with coverage: an hour or more (ARGS="-m slow --sample 0.1" for a tenth of the slow ones)
	TEST_FULL=1 $(BIN)/python -m pytest -m 'not cluster' --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder --cov --cov-report term:skip-covered $(ARGS)

test-cluster: $(STAMP) ## the tests on throw-away hosts: needs root, iproute2, iptables, openssh-server, rsync, redis-server
	$(BIN)/python -m pytest -m cluster $(ARGS)

test-projects: $(STAMP) ## sweep twelve real projects, each in its own environment: an hour or more (ARGS="darts gan", ARGS=--write for the table)
	$(BIN)/python -m tests.projects $(ARGS)

# torch_xla wants torch 2.9, so it has an environment of its own, which only the training processes on TPU hosts use.
tpu-env: $(TPU_STAMP) ## .venv-tpu with torch_xla; 7 GB (TPU=1 on a TPU host, for libtpu)

$(TPU_STAMP): pyproject.toml constraints-tpu.txt
	@echo "Installing into $(TPU_VENV) by constraints-tpu.txt: some 4 GB to fetch the first time, 7 GB on disk."
	@$(PYTHON) -m venv $(TPU_VENV)
	@$(TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement constraints-tpu.txt $(if $(TPU),'torch_xla[tpu]')
	@$(TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

test-tpu: $(STAMP) $(TPU_STAMP) ## training on XLA devices, PJRT's on the CPU: some minutes
	SWEEP_TPU_PYTHON=$(CURDIR)/$(TPU_VENV)/bin/python $(BIN)/python -m pytest tests/tpu $(ARGS)

check: $(STAMP) ## ruff, mypy --strict, layers, names, wording, links and generated pages: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py tests/test_conventions.py
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/check_links.py

dist: $(STAMP) ## a wheel and a source distribution in dist/
	rm -rf dist
	$(BIN)/python -m build

mutants: $(STAMP) ## plant bugs in a copy, one after another: a test must catch each (ARGS=journal for some of them)
	$(BIN)/python -m tests.mutants $(ARGS)

chaos: $(STAMP) ## kills, faults, cuts and fuzz in full: some hours (ARGS="kills" for one of them)
	$(BIN)/python -m tests.chaos $(ARGS)

bench: $(STAMP) ## loader, one trial, slot turnaround and live progress, as ratios (DATA_DIR=./data)
	@failed=0; \
	$(BIN)/python benchmarks/loader.py --data-dir '$(DATA_DIR)' || failed=1; \
	$(BIN)/python benchmarks/trial.py --data-dir '$(DATA_DIR)' || failed=1; \
	$(BIN)/python benchmarks/turnaround.py || failed=1; \
	$(BIN)/python -m benchmarks.live_progress || failed=1; \
	exit $$failed

bench-scale: $(STAMP) ## trials a minute on eight throw-away hosts, against the bound that their slots set (as root)
	$(BIN)/python -m benchmarks.scale $(ARGS)

bench-search: $(STAMP) ## how soon each search finds the best of tables of curves (CURVES=FILE.npz or a folder, ARGS="--seeds 20")
	$(BIN)/python -m benchmarks.search --curves '$(CURVES)' $(ARGS)

# The variable silences a notice about the theme's end of life (docs/decisions.md, 2026-11-22), not a warning of the build.
docs: $(STAMP) ## docs/reference made anew, every link checked, and the site built into site/
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/check_links.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml
	$(BIN)/python docs/check_site.py site

clean: ## remove .venv, .venv-tpu, the built site and the tools' caches; runs/ and data/ stay
	rm -rf $(VENV) $(TPU_VENV) .projects site dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
