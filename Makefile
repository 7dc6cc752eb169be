# Kennel: `make run` and `make test` are all a new machine needs. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 4566
DATA ?=
EVENT ?=

.DEFAULT_GOAL := help
.PHONY: help run up down test check lint

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

run: $(VENV)/run.stamp  ## photos to endpoint on this machine [DATA=folder-or-archive] [EVENT=events/….json] [PORT=4566]
	@$(BIN)/python -m local run --port $(PORT) $(if $(DATA),--data "$(DATA)") $(if $(EVENT),--event "$(EVENT)")

up: $(VENV)/run.stamp  ## start the laptop cloud and deploy, without a run
	@$(BIN)/python -m local up --port $(PORT)

down: $(VENV)/run.stamp  ## stop the laptop cloud and everything on it
	@$(BIN)/python -m local down

test: $(VENV)/dev.stamp  ## all tests
	@$(BIN)/python -m pytest

check: lint test  ## what CI runs: lint, types, tests

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy dataset functions training serving local
	@AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 $(BIN)/sam validate --lint

# torch first and alone: another package's looser wish would bring its CUDA build, several GB.
$(VENV)/run.stamp: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes, once)"
	@$(BIN)/pip install -q torch==2.13.0
	@$(BIN)/pip install -q -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@$(BIN)/pip install -q -e ".[dev]"
	@touch $@
