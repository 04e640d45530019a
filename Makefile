# make install | test | test-slow | test-clap | coverage | soak | lint | demo | docs | clean
# Needs python3 (3.10 to 3.13) with venv; PYTHON=python3.12 picks another.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two test processes of one thread each beat one of two threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: install lint test test-slow test-clap coverage soak demo docs clean

install: $(STAMP)

# The stamp is written last, so an interrupted installation starts again.
$(STAMP): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/yamllint --strict recipes
	$(BIN)/mypy

test: lint
	$(PYTEST) -m "not slow"

# Whole trainings, kills and more fuzzed inputs than the fast tests take.
test-slow: $(STAMP)
	$(PYTEST) -m slow

coverage: $(STAMP)
	$(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=85

# laion-clap holds numpy below 2: an environment of its own.
CLAP_VENV ?= .venv-clap
CLAP_STAMP := $(CLAP_VENV)/.installed

$(CLAP_STAMP): setup.py
	$(PYTHON) -m venv $(CLAP_VENV)
	$(CLAP_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(CLAP_VENV)/bin/python -m pip install --quiet -e ".[laion]" pytest
	touch $(CLAP_STAMP)

test-clap: $(CLAP_STAMP)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=2 $(CLAP_VENV)/bin/python -m pytest tests/clap

# The long form of what the tests do in short: an hour on two cores.
soak: $(STAMP)
	LMAC_SOAK=1 $(PYTEST) tests/properties
	$(BIN)/python tests/fuzz/run.py --cases 2000
	$(BIN)/python tests/kills/run.py --kills 30

demo: $(STAMP)
	$(BIN)/python tools/demo.py

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf docs/_api docs/_build docs/_pages $(VENV) $(CLAP_VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
