# Needs only make and Python >= 3.11. Everything is installed into .venv, nothing outside it.
#   make quickstart                    train, evaluate, print where the report is
#   make test PYTHON=python3.12        choose the interpreter of a new .venv (else: make clean first)

PYTHON ?= python3
WORKDIR ?= runs/digits
WORKERS ?= 2

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
SOURCES := nvc_jax configs benchmarks tests train.py eval.py setup.py docs/conf.py

.DEFAULT_GOAL := help
.PHONY: help venv quickstart test lint types unit format docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

# The stamps are written last, so an interrupted step is done again from its beginning.
$(VENV)/created:
	@command -v "$(PYTHON)" > /dev/null || \
	  { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name it with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "nvc_jax needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1): run make PYTHON=python3.11 (or newer)."; exit 1; }
	@echo "Creating $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/run-packages: requirements.txt $(VENV)/created
	@echo "Installing requirements.txt into $(VENV) (about 1.3 GB, a few minutes; once)"
	@$(PIP) -r $<
	@touch $@

$(VENV)/check-packages: requirements-dev.txt $(VENV)/run-packages
	@echo "Installing requirements-dev.txt into $(VENV)"
	@$(PIP) -r $<
	@touch $@

$(VENV)/docs-packages: requirements-docs.txt $(VENV)/run-packages
	@echo "Installing requirements-docs.txt into $(VENV)"
	@$(PIP) -r $<
	@touch $@

venv: $(VENV)/check-packages  ## install packages for runs and checks into .venv

# --overwrite: a repeated quickstart trains anew instead of finding the finished run and doing
# nothing. It replaces $(WORKDIR) only.
quickstart: $(VENV)/run-packages  ## train on the embedded digits and evaluate, about a minute
	$(PY) train.py --config=digits --workdir=$(WORKDIR) --overwrite
	$(PY) eval.py --workdir=$(WORKDIR)

test: lint types unit  ## every check: style, types, tests

lint: $(VENV)/check-packages  ## check style and formatting
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)

types: $(VENV)/check-packages  ## check type hints
	$(PY) -m mypy $(SOURCES)

unit: $(VENV)/check-packages  ## run the tests
	$(PY) -m pytest -n $(WORKERS) --dist loadfile

format: $(VENV)/check-packages  ## format and fix what can be fixed
	$(PY) -m ruff check --fix $(SOURCES)
	$(PY) -m ruff format $(SOURCES)

# Warnings are errors: a link that leads nowhere, or a docstring that cannot be read.
docs: $(VENV)/docs-packages  ## build the guides and the API reference into build/docs
	$(PY) -m sphinx -W --keep-going --quiet -d build/doctrees -c docs . build/docs
	@echo "Open build/docs/index.html"

clean:  ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	find nvc_jax configs benchmarks tests -name __pycache__ -prune -exec rm -rf {} +
