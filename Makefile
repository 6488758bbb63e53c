# `make demo` answers a question in a few minutes; `make test` proves the rest. Both need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.torsor

.PHONY: demo test test-fast check format docs bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)   ## a study on simulated particles and one on real molecules, and the report they make
	$(BIN)/torsor demo

test: check

check: $(STAMP)  ## everything that has to hold before a change lands
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 -m 'not compile' --jaxtyping-packages=torsor,beartype.beartype
	$(BIN)/pytest -n 2 -m compile

test-fast: $(STAMP)
	$(BIN)/pytest -n 2 -m 'not slow and not compile'

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/torsor bench

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .ruff_cache .mypy_cache
