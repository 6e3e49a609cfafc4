PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt
RUFF_PATHS := src tests examples benchmarks tools
# How many processes, and in which order they take the tests, is in tests/conftest.py.
PARALLEL := --numprocesses auto --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test check house fix bench examples build clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo  ## Breed eight small networks on handwritten digits in two processes
	$(BIN)/evolvent demo

test: $(VENV)/.dev  ## Run the test suite; CI=true adds the tests marked slow, and coverage
	$(BIN)/python -m pytest $(PARALLEL) $(if $(CI),--cov --cov-report=term,-m 'not slow')

check: $(VENV)/.dev  ## Check format, lint, types, layers and file sizes; changes nothing
	$(BIN)/ruff format --check $(RUFF_PATHS)
	$(BIN)/ruff check $(RUFF_PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/test_architecture.py

house: $(VENV)/.dev  ## Print the size of the house, and how far one job walks through it
	$(BIN)/python -m tools.house

fix: $(VENV)/.dev  ## Format, and mend what the linter can mend
	$(BIN)/ruff format $(RUFF_PATHS)
	$(BIN)/ruff check --fix $(RUFF_PATHS)

bench: $(VENV)/.dev  ## Print the figures of docs/speed.md; add Ray with: pip install -e '.[bench]'
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/decide.py
	$(BIN)/python benchmarks/store.py --quick
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/jobs.py
	$(BIN)/python benchmarks/live_objects.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/analysis.py

examples: $(VENV)/.dev  ## Run the examples that need nothing but the demo extra
	$(BIN)/python examples/toy.py
	$(BIN)/python examples/population_size.py

build: $(VENV)/.dev  ## Build the sdist and the wheel into dist/
	$(BIN)/python -m build

clean:  ## Remove what can be made again, the virtual environment too
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage

# A stamp per set of dependencies: installed once, and again when what is wanted changes.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evolvent needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
