# Kennel: `make run` and `make test` are all a new machine needs. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 4566
# These come from make's command line only: a variable of the shell that has such a name means something else.
DATA =
SPLIT =
LEAKS =
EVENT =
NOTEBOOK =
MODEL =
MUTANTS = 5
SEED = 0
LAPTOP =
KEEP =
YES =
CHECKOV_VENV := .tools/checkov
CHECKOV := $(CHECKOV_VENV)/bin/checkov
PIP_AUDIT_VENV := .tools/pip-audit
PIP_AUDIT := $(PIP_AUDIT_VENV)/bin/pip-audit
NOTEBOOK_VENV := .tools/notebook
TRANSFORMED := .kennel/lint/template.json
# More workers than cores: most tests of the laptop cloud wait for it most of the time.
WORKERS := -n 3 --no-loadscope-reorder
EVERY_RULE := --include-checks I --include-experimental --non-zero-exit-code informational

# Text as one word of the shell, whatever signs it has; local/venv.py says which Python will not do.
quote = '$(subst ','\'',$(value $(1)))'
pip = $(1)/bin/python local/shell.py pip install -q --no-user --no-deps
# Installs a list into an environment: nothing but its wheels, each with one of its hashes. `python -m proofs.lock` writes it.
locked = $(call pip,$(1)) --require-hashes --only-binary :all: -r $(2)
# PyPI's torch for Linux needs the packages of CUDA; a build for CPUs, which pip may be told to prefer, needs none.
needs_cuda = $(BIN)/python -c "import importlib.metadata as m, sys; sys.exit('nvidia' not in str(m.requires('torch')))"
make_venv = @$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 6))" 2>/dev/null || { \
	echo "$(PYTHON) does not start, or is far too old; name another: make run PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) local/venv.py

# Before Python starts; local/shell.py does the rest, for the programs and for pip.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONSAFEPATH PYTHONINSPECT PYTHONOPTIMIZE PYTHONWARNINGS PYTHONPLATLIBDIR PYTHONHASHSEED
unexport CDPATH BASH_ENV ENV GREP_OPTIONS

.DEFAULT_GOAL := help
.PHONY: no-venv help install run up down notebook test test-slow check lint openapi proof aws-smoke

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: $(VENV)/run.stamp  ## photos to endpoint on this machine [DATA=folder-or-archive] [SPLIT=80/10/10] [LEAKS=drop] [EVENT=events/….json] [MODEL=model.pth] [PORT=4566]
	@$(BIN)/python -m local run --port $(PORT) $(if $(DATA),--data $(call quote,DATA)) \
		$(if $(SPLIT),--split $(call quote,SPLIT)) $(if $(LEAKS),--leaks $(call quote,LEAKS)) $(if $(EVENT),--event $(call quote,EVENT)) \
		$(if $(MODEL),--model $(call quote,MODEL))

up: $(VENV)/run.stamp  ## start the laptop cloud and deploy, without a run
	@$(BIN)/python -m local up --port $(PORT)

down:  ## stop the laptop cloud and everything on it
	@if [ -e $(VENV)/run.stamp ]; then $(BIN)/python -m local down; else echo "Nothing is up: nothing is installed here yet."; fi

notebook: $(VENV)/run.stamp $(NOTEBOOK_VENV)/lock.stamp  ## open examples/kennel.ipynb on the laptop cloud [NOTEBOOK=run]
	@$(BIN)/python -m local notebook $(if $(filter run,$(NOTEBOOK)),--run)

proof: $(VENV)/run.stamp  ## prove that the template grants what is needed and no more, 25 minutes [MUTANTS=5] [SEED=0]
	@$(BIN)/python -m local proof --mutants $(MUTANTS) --seed $(SEED)

aws-smoke: $(VENV)/run.stamp  ## prove everything on your AWS account, from deployment to deletion [LAPTOP=1] [KEEP=1] [YES=1]
	@$(BIN)/python -m proofs.aws_smoke $(if $(LAPTOP),--laptop) $(if $(KEEP),--keep) $(if $(YES),--yes)

test: $(VENV)/dev.stamp  ## all tests but the slow ones
	@$(BIN)/python -m pytest $(WORKERS)

test-slow: $(VENV)/dev.stamp $(NOTEBOOK_VENV)/lock.stamp  ## the slow tests, such as the update of an earlier release to this tree
	@$(BIN)/python -m pytest -m slow --durations=10

install: $(VENV)/dev.stamp $(CHECKOV_VENV)/lock.stamp $(PIP_AUDIT_VENV)/lock.stamp  ## everything that make check needs

check: lint test  ## what CI runs: lint, types, tests

lint: export AWS_DEFAULT_REGION := us-east-1
lint: $(VENV)/dev.stamp $(CHECKOV_VENV)/lock.stamp $(PIP_AUDIT_VENV)/lock.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m codespell_lib
	@$(BIN)/python -m mypy benchmarks cloud dataset functions local networks proofs serving sketchbook traffic training
	@$(BIN)/python local/shell.py samcli validate --lint
	@mkdir -p $(dir $(TRANSFORMED)) && $(BIN)/python -m proofs.transformed > $(TRANSFORMED)
	@for template in template.yaml $(TRANSFORMED); do $(BIN)/cfn-lint $(EVERY_RULE) -t $$template || exit; done
	@$(CHECKOV) --framework cloudformation dockerfile -f $(TRANSFORMED) serving/Dockerfile
	@$(CHECKOV) --framework secrets -d .
	@$(BIN)/python -m proofs.audit $(PIP_AUDIT)
	@$(BIN)/python -m prices age

openapi: $(VENV)/run.stamp  ## write the API's document anew, after its routes have changed
	@cd functions && POWERTOOLS_SERVICE_NAME=- POWERTOOLS_METRICS_NAMESPACE=- HOSTING=instances HOSTING_PARAMETER=- MODEL_FUNCTION=- \
		ENDPOINT_NAME=- BUCKET=- ALLOWED_ORIGIN=none SHRINK_PHOTOS=auto \
		AWS_DEFAULT_REGION=us-east-1 ../$(BIN)/python -m classify.openapi

# pip prefers a file whose hash an index tells it before to one that lies in a folder, so a build for CPUs that it may
# have is asked for first, by its own version.
$(VENV)/run.stamp: pyproject.toml locks/torch-cpu.lock locks/run.lock locks/cuda.lock $(if $(wildcard $(BIN)/python),,no-venv)
	$(make_venv) $(VENV) $(call quote,PYTHON)
	@echo "Installing into $(VENV) (a few minutes, once)"
	@$(call locked,$(VENV),locks/torch-cpu.lock) 2>/dev/null || echo "pip is offered no known build of torch for CPUs; taking PyPI's"
	@$(call locked,$(VENV),locks/run.lock)
	@if $(needs_cuda); then $(call locked,$(VENV),locks/cuda.lock); fi
	@$(call pip,$(VENV)) --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp locks/dev.lock
	@$(call locked,$(VENV),locks/dev.lock)
	@touch $@

# The SDK of SageMaker requires a newer boto3 than the laptop cloud allows. 1.2 GB, without torch.
$(NOTEBOOK_VENV)/lock.stamp: examples/requirements.lock
	$(make_venv) $(NOTEBOOK_VENV) $(call quote,PYTHON)
	@echo "Installing Jupyter and the SageMaker SDK into $(NOTEBOOK_VENV) (minutes, once)"
	@$(call locked,$(NOTEBOOK_VENV),examples/requirements.lock)
	@touch $@

# In environments of their own: checkov requires other versions of much that the rest needs.
$(CHECKOV_VENV)/lock.stamp: locks/checkov.lock
	@echo "Installing checkov (a minute, once)"
	$(make_venv) $(CHECKOV_VENV) $(call quote,PYTHON)
	@$(call locked,$(CHECKOV_VENV),locks/checkov.lock)
	@touch $@

$(PIP_AUDIT_VENV)/lock.stamp: locks/pip-audit.lock
	$(make_venv) $(PIP_AUDIT_VENV) $(call quote,PYTHON)
	@$(call locked,$(PIP_AUDIT_VENV),locks/pip-audit.lock)
	@touch $@
