# Everything here needs Python ≥ 3.11 and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export PYTHONUTF8 := 1
# Pulumi's providers are large: compiling them anew in every run would double its time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up down check test lint types docs pipelines bench clean
.DEFAULT_GOAL := help

help: ## List what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

up: .venv/ready ## Set everything up, check the policies, rehearse both stacks and serve a model
	@$(BIN)/slipway check local
	@$(BIN)/slipway up local

down: ## Stop and remove everything `make up` made (the virtual environment stays: `make clean`)
	@if test -x $(BIN)/slipway; then $(BIN)/slipway down local; else rm -rf .slipway; fi

check: .venv/ready ## Run every policy pack on the plan of every stack, offline
	@$(BIN)/slipway check

test: .venv/ready lint types ## Run every test
	@$(BIN)/pytest

lint: .venv/ready
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: .venv/ready
	@$(BIN)/mypy

pipelines: .venv/ready ## Recompile the pipelines written with SageMaker's SDK and compare; its 730 MB go elsewhere
	@for each in stacks/pipelines/*.py; do \
	  $(BIN)/uv run --isolated --locked --quiet --group pipelines slipway pipeline compile $$each --check 2>/dev/null \
	  || $(BIN)/uv run --isolated --locked --quiet --system-certs --group pipelines slipway pipeline compile $$each --check \
	  || exit 1; \
	done

docs: .venv/ready ## Build the documentation into .slipway/site: open index.html there, no server needed
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir .slipway/site
	@echo "Built: .slipway/site/index.html"

bench: .venv/ready ## Time the commands a user waits for
	@$(BIN)/python -m tests.bench

clean: down ## Remove the virtual environment and every cache, too
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Behind a proxy with a certificate of its own only the system's list knows it, hence the second attempt.
# The lock file decides what is installed; uv itself is in it, so pip only fetches that one version of uv.
.venv/ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Slipway needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": set PYTHON=python3.x")'
	@echo "Installing the locked dependencies into .venv …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$$(sed -n 's/.*"uv==\([^"]*\)".*/\1/p' pyproject.toml)"
	@$(BIN)/uv sync --locked --quiet 2>/dev/null || $(BIN)/uv sync --locked --quiet --system-certs
	@touch $@
