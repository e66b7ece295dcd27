# Verbs for people and CI. Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH ?= full
SOAK ?= full
MODEL ?= 2000
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint format typecheck bench soak model constraints clean

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)  ## the whole story on this machine with embedded servers
	$(BIN)/stocktake demo

test: $(STAMP)  ## every test, on real servers that the run starts itself
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(STAMP)  ## check style and imports; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## apply the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(STAMP)  ## mypy --strict over the program and its tests
	$(BIN)/mypy

bench: $(STAMP)  ## measure (docs/performance.md); BENCH=quick for a tenth of the data, BENCH=growth for the state alone
	$(BIN)/python -m tests.benchmarks $(BENCH)

model: $(STAMP)  ## 2,000 random examples of what can happen to state and inventories, held to the oracle
	$(BIN)/python -m tests.model $(MODEL)

soak: $(STAMP)  ## 100 faults of each kind under load, held to the oracle; SOAK=short for a minute of it
	$(BIN)/python -m tests.soak $(SOAK)

constraints:  ## renew constraints.txt and the image's part of it from pyproject.toml
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet pip-tools
	build/constraints/bin/pip-compile --quiet --strip-extras --all-extras --build-deps-for editable \
		--allow-unsafe --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--no-header --output-file constraints.txt pyproject.toml
	build/constraints/bin/pip-compile --quiet --strip-extras --extra s3 --build-deps-for wheel --no-annotate \
		--allow-unsafe --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--no-header --constraint constraints.txt --output-file constraints-runtime.txt pyproject.toml

clean:  ## remove what the verbs made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
