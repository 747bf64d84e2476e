# Every target sets up what it needs in .venv, once, and again when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# pyright is pinned by the installation; it need not ask the network for a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: install demo test test-postgres check bench format help

install: $(VENV)/.with-dev  ## set up .venv with carpool and all that work on it needs
	@echo "carpool is in $(VENV); try: $(BIN)/carpool --help"

demo: $(VENV)/.with-cli  ## a map-reduce under a budget over this folder's docs, offline, without a key
	@$(BIN)/carpool run --pattern map-reduce --items 'docs/**/*.md' --task "What does this page say?" \
		--runner extractive --budget "200k tokens, 40 agents" --max-concurrent 4

test: $(VENV)/.with-dev  ## the tests
	@$(BIN)/python -m pytest -q

test-postgres: $(VENV)/.with-dev  ## those that need PostgreSQL, whose server apt installs if it is missing
	@.ci/apt-get initdb postgresql
	@$(BIN)/python -m pytest -q tests/durable -k postgres

check: $(VENV)/.with-dev  ## format, lint, types, floors, examples, tests (README's code among them): what CI asks
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo
	@for example in $(wildcard examples/*.py); do \
		echo "$$example"; \
		output=$$($(BIN)/python -W error $$example 2>&1) || { echo "$$output"; exit 1; }; \
	done
	@$(BIN)/python -m pytest -q

bench: $(VENV)/.with-dev  ## overshoot, overhead, sleepers and import time, measured here
	@$(BIN)/python -m bench

format: $(VENV)/.with-dev  ## put the code in its one form
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# .with-cli is enough to use carpool, .with-dev to change it.
$(VENV)/.with-%: pyproject.toml
	@echo "setting up $(VENV) [$*]"
	@if command -v uv >/dev/null; then \
		{ test -x $(BIN)/python || uv venv --quiet --allow-existing --python $(PYTHON) $(VENV); } && \
		uv pip install --quiet --python $(BIN)/python --editable '.[$*]'; \
	else \
		{ $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV); } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'; \
	fi
	@touch $@
