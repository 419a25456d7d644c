# Two commands do everything on a fresh Debian 12 machine: `make demo` and `make test`.
PYTHON := .venv/bin/python
# Compiled files are kept: the tests start a few thousand processes, and each would compile all its modules again.
unexport PYTHONDONTWRITEBYTECODE
# Five workers, also on two cores: much of what is tested is waiting for something that stands still. tests/conftest.py says what
# stays together, and in which order.
PYTEST := $(PYTHON) -m pytest -n 5

.PHONY: help setup demo test test-quick collect coverage explore mutants soak lint docs lock bench clean

help:
	@echo "make demo        one whole night on the embedded cluster, with real guests"
	@echo "make test        all tests, lab included"
	@echo "make test-quick  the tests that need no guest, in about three minutes on two cores"
	@echo "make coverage    each branch of policies must be taken by a test of tests/unit/policies; part of make test"
	@echo "make explore     the tests that draw their inputs, with new ones each time"
	@echo "make mutants     policies mutated: what no test would notice (MINUTES=60, MODULES=\"retention whole\")"
	@echo "make soak        MUTANTS=20000 of archives read, COUNT=50 good restore tests in a row with every core busy, long operations killed at all places"
	@echo "make lint        format, lint, types, layers"
	@echo "make docs        write docs/reference.md anew from the code"
	@echo "make lock        pin the application's dependencies in requirements.lock (UPGRADE=1: the newest)"
	@echo "make bench       measurements, as ratios against named yardsticks"

setup:
	@deploy/setup.sh

demo: setup
	@.venv/bin/backupsvc demo

test: setup
	@$(MAKE) --no-print-directory -o setup -j 2 --output-sync=target lint coverage collect
	$(PYTEST) -m "not bench and not soak" --ignore=tests/unit/policies

test-quick: setup
	$(PYTEST) -m "not slow and not lab and not bench and not soak"

# Each file of tests is compiled once here, and not by all workers at once; what cannot be collected they say themselves.
collect: setup
	@$(PYTHON) -m pytest --collect-only -qq > /dev/null 2>&1 || true

coverage: setup
	$(PYTHON) -m coverage erase
	$(PYTHON) -m coverage run -m pytest -n 2 tests/unit/policies
	$(PYTHON) -m coverage combine -q
	$(PYTHON) -m coverage report

explore: setup
	$(PYTEST) -m "not lab and not bench" --hypothesis-profile=explore tests/unit

mutants: setup
	@$(PYTHON) -m tests.mutants --minutes $(or $(MINUTES),60) $(MODULES)

soak: setup
	FUZZ_COUNT=$(or $(MUTANTS),20000) $(PYTEST) tests/fuzz
	SOAK_COUNT=$(or $(COUNT),50) $(PYTHON) -m pytest -m soak -s tests/soak
	DURABLE_WHOLE=1 $(PYTEST) tests/integration/durable

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/lint-imports pvelab/importlinter.toml

lock:
	@UPGRADE=$(UPGRADE) deploy/lock.sh

docs: setup
	$(PYTHON) -m tests.reference

bench: setup
	$(PYTHON) -m pytest -m bench -s tests/bench

clean:
	rm -rf .venv .cache build dist *.egg-info pvelab/build pvelab/dist pvelab/src/*.egg-info demo-report .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
