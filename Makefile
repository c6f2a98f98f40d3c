# Everything a developer types. `make demo` and `make test` need only git, make and Python 3.11+.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := 1
export RUNTIME__DLTHUB_TELEMETRY := false
export DAGSTER_DISABLE_TELEMETRY := 1
export PYTHONDONTWRITEBYTECODE :=
export UV_SYSTEM_CERTS := true
export UV_CACHE_DIR ?= $(CURDIR)/$(VENV)/cache

.PHONY: help setup demo dev test lint types check bench docs lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(STAMP) ## the virtual environment, from the lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "lendloop needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --config-settings editable_mode=compat -e .
	@touch $@

demo: setup ## the whole system on a pretend lender, end to end
	@$(BIN)/lendloop demo

dev: setup ## sandbox, Dagster UI and daemon with the demo data, until Ctrl-C
	@$(BIN)/lendloop dev

# three processes for two cores: one often waits, for a server that is away or a browser
test: setup ## every test; ON=servers: those from end to end, on MariaDB and PostgreSQL
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(ON),--on $(ON) tests/end_to_end)

lint: setup ## style, and the import rules between the rooms
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: setup ## strict types
	@$(BIN)/mypy

check: setup ## every definition, offline: dbt project, audiences, rules, asset graph
	@$(BIN)/lendloop check

bench: setup ## docs/benchmarks.md: what is measured, beside its limit (ONLY=passes for one part)
	@$(BIN)/python -m benchmarks $(ONLY)

docs: setup ## docs/interfaces.md from the definitions, and the site in data/site
	@$(BIN)/python docs/build.py
	@$(BIN)/lendloop site

lock: setup ## the lock, anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group dev --no-emit-index-url --no-header --generate-hashes pyproject.toml -o requirements.lock

clean: ## forget the environment and all local data
	rm -rf $(VENV) data
