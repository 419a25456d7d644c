# Two commands do everything on a fresh Debian 12 machine: `make demo` and `make test`.
PYTHON := .venv/bin/python

.PHONY: help setup demo test test-quick explore lint bench clean

help:
	@echo "make demo        one whole night on the embedded cluster, with real guests"
	@echo "make test        all tests, lab included"
	@echo "make test-quick  the tests that need no guest, in two minutes"
	@echo "make explore     the tests that draw their inputs, with new ones each time"
	@echo "make lint        format, lint, types, layers"
	@echo "make bench       measurements, as ratios against named yardsticks"

setup:
	@deploy/setup.sh

demo: setup
	@.venv/bin/backupsvc demo

test: setup lint
	$(PYTHON) -m pytest -m "not bench and not lab" -n 2 --dist worksteal
	$(PYTHON) -m pytest -m "lab and not bench"

test-quick: setup
	$(PYTHON) -m pytest -m "not slow and not lab and not bench" -n 2 --dist worksteal

explore: setup
	$(PYTHON) -m pytest -m "not lab and not bench" -n 2 --hypothesis-profile=explore tests/unit

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	$(PYTHON) -m pytest -m bench -s tests/bench

clean:
	rm -rf .venv .cache build dist *.egg-info demo-report .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
