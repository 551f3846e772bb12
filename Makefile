# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
USER_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
INPUTS := pyproject.toml constraints.txt

.PHONY: help demo test test-slow test-browser faults benchmarks notebooks docs clean

help:  ## Show this help
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(USER_STAMP): $(BIN)/python $(INPUTS)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[diffusion]'
	@touch $@

$(DEV_STAMP): $(BIN)/python $(INPUTS)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(USER_STAMP)

demo: $(USER_STAMP)  ## Plan, train, sample, evaluate, report and verify on the embedded digits
	$(BIN)/privplan demo

test: $(DEV_STAMP)  ## Every check: format, lint, types, layers, tests, doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2

test-slow: $(DEV_STAMP)  ## The slow and the statistical tests
	$(BIN)/python -m pytest -n 2 -m "slow or statistical"

test-browser: $(DEV_STAMP)  ## Open a report in Chromium: no request, no error, all there
	$(BIN)/python -m pytest -m browser tests/browser

faults: $(DEV_STAMP)  ## Put every known mistake in, and show what catches it
	$(BIN)/python -m pytest -q -m "" -p tests.faults.table tests/faults

benchmarks: $(DEV_STAMP)  ## Speed against peers, as ratios in one run
	$(BIN)/python benchmarks/accounting.py
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/ledger.py

notebooks: $(DEV_STAMP)  ## Execute every notebook from its source, and write it with its outputs
	$(BIN)/python -m pytest -m notebooks tests/notebooks

docs: $(DEV_STAMP)  ## The documentation site, into site/; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
