# Everything a contributor or CI does. It needs make, git and a Python >= 3.11 and installs all the rest into .venv,
# which is called by path: nothing assumes an activated environment, and an active one is ignored.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# `check` stops at the first failure, and its order is the point.
.NOTPARALLEL:
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH MYPYPATH

PYTHON ?= python3
KEEP   ?=
ONLY   ?=
SIZE   ?=
ROUNDS ?=
ARGS   ?=

BIN       := .venv/bin
RELEASED  := released.binpb
UV        := uv==0.13.9
INSTALL   := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DEPS      := .venv/.dependencies
INSTALLED := .venv/.installed

##@ Start

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(INSTALLED) ## Install the pinned dependencies and the project into .venv (PYTHON=python3)

# Cleared rather than updated: a package that has left the pins must not linger and hide a missing dependency.
$(DEPS): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("Tocsin needs Python 3.11 or newer: make PYTHON=... " if sys.version_info < (3, 11) else 0)'
	@echo "Installing the pinned dependencies into .venv"
	@$(PYTHON) -m venv --clear .venv
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

$(INSTALLED): $(DEPS) pyproject.toml server/tocsin_server/__init__.py
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: demo
demo: venv ## A server, a sender and a receiver on this machine, and what happens between them (KEEP=1: leave it running)
	$(BIN)/tocsin demo $(if $(KEEP),--keep)

.PHONY: serve
serve: venv ## Run the server (ARGS="--help" lists what it takes)
	$(BIN)/tocsin serve $(ARGS)

##@ Change

.PHONY: generate
generate: venv ## Write the Python code of the contract from proto/
	$(BIN)/python scripts/generate.py

.PHONY: format
format: venv ## Format Python and protos
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format proto --write

.PHONY: pins
pins: ## Resolve requirements/*.txt again (ARGS=--upgrade: to the newest versions)
	@$(PYTHON) -m venv build/pins
	@build/pins/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
# dev holds all there is, so it is resolved first and the others take its versions: what is tested is what is installed.
	@$(COMPILE) --all-extras --group dev $(ARGS) --output-file requirements/dev.txt
	@$(COMPILE) --extra server --extra postgres --constraints requirements/dev.txt --output-file requirements/server.txt
	@$(COMPILE) --constraints requirements/dev.txt --output-file requirements/client.txt
# Where packages come from is for whoever installs them to decide.
	@! grep -n '://' requirements/*.txt

COMPILE = build/pins/bin/uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-header \
	--annotation-style line

.PHONY: release
release: venv check ## Write released.binpb: from now on the contract may only grow from here
	$(BIN)/buf build proto --exclude-source-info --output $(RELEASED)

.PHONY: clean
clean: ## Remove all that make has built, .venv too
	rm -rf .venv build .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Check

.PHONY: check
check: format-check lint types imports proto generated deps dead test demo ## All that CI runs; what fails fastest comes first

.PHONY: format-check
format-check: venv ## Python is formatted
	$(BIN)/ruff format --check --quiet --diff .

.PHONY: lint
lint: venv ## Ruff
	$(BIN)/ruff check --quiet .

.PHONY: types
types: venv ## mypy, strict
	$(BIN)/mypy

.PHONY: imports
imports: venv ## The layers hold (import-linter)
	$(BIN)/lint-imports

.PHONY: proto
proto: venv ## The contract is linted, formatted and breaks nobody
	$(BIN)/buf lint
	$(BIN)/buf format proto --diff --exit-code
ifneq ($(wildcard $(RELEASED)),)
	$(BIN)/buf breaking proto --against $(RELEASED)
else
	@echo "No release yet, so there is no contract to break ($(RELEASED) is written by make release)."
endif

.PHONY: generated
generated: venv ## The committed code is what the protos generate
	$(BIN)/python scripts/generate.py --check

.PHONY: deps
deps: venv ## Every dependency is declared, and every declared one used (deptry)
	$(BIN)/deptry server clients/python

.PHONY: dead
dead: venv ## No dead code (vulture)
	$(BIN)/vulture

.PHONY: test
test: venv ## Tests (ARGS="-k name" picks some)
	$(BIN)/python -m pytest -n 2 $(ARGS)

.PHONY: coverage
coverage: venv ## Tests, and the lines that none of them runs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

##@ Measure

.PHONY: bench
bench: venv ## Benchmarks (ONLY=name SIZE=n ROUNDS=n)
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(SIZE),--size $(SIZE)) $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: soak
soak: venv ## Ten minutes of random faults on a fleet (SECONDS_OF_SOAK=600; it prints the seed that replays it)
	TOCSIN_SOAK_SECONDS=$(or $(SECONDS_OF_SOAK),600) $(BIN)/pytest -s tests/faults/test_soak.py

.PHONY: bench-quick
bench-quick: ## Benchmarks, small and once: do they still run?
	@$(MAKE) --no-print-directory bench SIZE=quick ROUNDS=1

