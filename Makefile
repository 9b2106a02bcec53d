# `make help` lists the targets. Everything runs in .venv, which is made on first use from
# requirements-dev.lock (hash-pinned) and costs nothing while it is current.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.current
WORKERS ?= 3
# Of the tests with faults, a sample of the crash matrix is part of `make test`; `make faults` runs all.
FAULT_SAMPLE := tests/faults/test_instrument.py tests/faults/test_sample.py
FAULT_TESTS := $(filter-out $(FAULT_SAMPLE),$(wildcard tests/faults/test_*.py))
UV = $$(command -v uv || echo .state/uv/bin/uv)
# No address of a registry reaches the lock files: hashes say what is installed, the machine's settings from where.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-index-url $(UPGRADE)

# Tests and tools must behave alike whatever the caller's shell says about warnings or colour.
unexport PYTHONWARNINGS PYTHONPATH
# Tests fetch the engines' sources with uv's pip where the interpreter brings no pip.
export PATH := $(CURDIR)/.state/uv/bin:$(PATH)

##@ Try it
.PHONY: demo
demo: $(STAMP)  ## DeepSeek-V3 planned, wired and kept over several nodes of a real control plane
	@$(PY) -m e2e.demo

.PHONY: demo-down
demo-down: $(STAMP)  ## stop exactly what `make demo` started
	@$(PY) -m e2e.demo down

##@ Measure
.PHONY: bench-cast
bench-cast: $(STAMP)  ## how fast weights are cast to BF16, beside a plain loop and the disk
	@$(PY) -m e2e.bench.cast

.PHONY: kill-weights
kill-weights: $(STAMP)  ## kill -9 fetch, cast and shard 102 times at random moments; every result must be equal
	@WEIGHTS_KILLS=34 $(PY) -m pytest -q -s -n0 tests/unit/weights/test_killed.py
.PHONY: faults
faults: binaries  ## random lives, faults of the API server, a kill at every write; writes docs/measurements/faults.md
	@FAULTS_LIVES=1000 $(PY) -m pytest -q -n0 --timeout 3600 tests/unit/lifecycle/test_random_life.py
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile $(FAULT_TESTS)
	@$(PY) -m e2e.faults

.PHONY: measure-nodes
measure-nodes: binaries  ## all faults on real nodes by the clock; writes docs/measurements/nodes.md
	@$(PY) -m pytest -q -m scenario --junitxml .state/e2e/junit.xml --measurements docs/measurements/nodes.md tests/nodes

.PHONY: bench-recovery
bench-recovery: binaries  ## failure to stop and to ready, for groups in hundreds; writes docs/measurements/recovery.md
	@$(PY) -m e2e.bench.recovery

##@ Develop
.PHONY: test
test: lint binaries  ## lint, unit tests and tests against a real API server
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile --ignore tests/nodes $(addprefix --ignore ,$(FAULT_TESTS)) tests
	@$(PY) -m pytest -q -rs tests/nodes/test_smoke.py

.PHONY: unit
unit: $(STAMP)  ## only the tests that need no API server
	@$(PY) -m pytest -q -n $(WORKERS) tests/unit

.PHONY: e2e
e2e: binaries  ## scenarios on real nodes: kubelets and containers on this machine (Linux, root)
	@$(PY) -m pytest -q -m "not slow and not engine" --junitxml .state/e2e/junit.xml --measurements .state/e2e/faults.md tests/nodes

.PHONY: e2e-engine
e2e-engine: binaries  ## a real vLLM with tensor parallelism over two real nodes (8 GB of disk, Linux, root)
	@$(PY) -m pytest -q -rs -m engine --junitxml .state/e2e/engine.xml tests/nodes/test_real_engine.py

.PHONY: lint
lint: $(STAMP)  ## ruff, mypy (strict), the layers
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/lint-imports --no-logo

.PHONY: bench-plan
bench-plan: $(STAMP)  ## how long planning takes: 1,000 nodes, 1,000 deployments; exit 1 when over the limit
	@$(PY) -m e2e.bench.plan

.PHONY: generate
generate: $(STAMP)  ## write everything that is generated; a test fails when it is stale
	@$(PY) -m e2e.generate.flags
	@$(PY) -m e2e.release

.PHONY: lock
lock: $(STAMP)  ## renew both lock files from pyproject.toml (UPGRADE=--upgrade for new versions)
	@$(COMPILE) --extra weights pyproject.toml -o requirements.lock
	@$(COMPILE) --extra weights --group dev pyproject.toml -o requirements-dev.lock
	@$(COMPILE) operator/requirements-build.in -o operator/requirements-build.lock

.PHONY: binaries
binaries: $(STAMP)  ## build the clusters' programs into the cache, once
	@$(PY) -m e2e.cluster build

.PHONY: clean
clean:  ## remove the environment and caches of tools; the binaries' cache stays
	@rm -rf $(VENV) .state/uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	@find operator e2e tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## this list
	@awk 'BEGIN {FS = ":.*##"} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*##/ {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

$(STAMP): pyproject.toml requirements-dev.lock .ci/bootstrap
	@.ci/bootstrap
