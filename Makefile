# Every task of this project. `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PY := .venv/bin/python
DEMO_ARGS ?= --match examples/libraries-known.csv
RUN := .venv/bin/
DEMO_FILE ?= examples/libraries-open.csv
TEST_JOBS ?= 2

.PHONY: help setup demo dev test lint types imports fix check docs bench soak clean debian

help: ## List the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv

.venv/.ready: pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	@$(UV) sync --locked --quiet
	@touch $@

setup: .venv/.ready ## Make the environment from the lock file

demo: .venv/.ready ## Match two real registries and show the receipt
	@mkdir -p out
	@echo gristmill run $(DEMO_FILE) $(DEMO_ARGS) -o out/demo.csv
	@$(RUN)gristmill run $(DEMO_FILE) $(DEMO_ARGS) -o out/demo.csv --data-dir .gristmill/demo
	@$(PY) tools/show_table.py out/demo.csv

dev: .venv/.ready ## Start Gristmill on this checkout
	$(RUN)gristmill up --data-dir .gristmill/dev

lint: .venv/.ready ## Formatting and lint
	$(RUN)ruff format --check src tests bench tools
	$(RUN)ruff check src tests bench tools

types: .venv/.ready ## Strict types
	$(RUN)pyright

imports: .venv/.ready ## Who may import whom
	$(RUN)lint-imports

test: .venv/.ready ## All tests but the soak tests
	$(RUN)pytest -n $(TEST_JOBS) --dist loadgroup -m "not slow" $(TEST_ARGS)

check: lint types imports test ## Everything that CI runs

fix: .venv/.ready ## Format and mend what can be mended
	$(RUN)ruff check --fix src tests bench tools
	$(RUN)ruff format src tests bench tools

docs: .venv/.ready ## Write the generated reference, openapi.json and schema.sql anew
	$(PY) tools/generate.py

bench: .venv/.ready ## Measure speed beside its peers; prints tables
	$(UV) sync --locked --quiet --group bench
	$(PY) bench/engine.py
	$(PY) bench/startup.py
	$(PY) bench/api.py
	$(PY) bench/matching.py
	$(PY) bench/events.py
	$(PY) bench/connectors.py
	$(PY) bench/gotemplate.py
	$(PY) bench/mapping.py
	$(PY) bench/tables.py
	$(PY) bench/enrich.py
	$(PY) bench/datasets.py
	$(PY) bench/retrieval.py

soak: .venv/.ready ## Long tests: a million rows, 20,000 rows under kill -9, fuzzing
	$(UV) sync --locked --quiet --group bench
	$(PY) bench/memory.py
	GRISTMILL_SOAK=1 $(RUN)pytest -m "slow or not slow" tests/flows/test_kill.py tests/soak -s

clean: ## Remove what was built
	rm -rf .venv .tools out build dist .gristmill .pytest_cache .ruff_cache
