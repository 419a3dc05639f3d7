# make run    set up, then the default run: train three networks, evaluate them, write a report
# make test   set up, then all tests
# make test-machines  the tests that train, on each kind of processor and number of threads
# make test-lowest  all tests with the lowest versions that are allowed
# make fuzz   10,000 bad inputs through every door, at most 20 minutes on two cores
# make faults 300 kills at random instants, full disks, read-only folders; at most 90 minutes
# make gpu  what has to be measured on a GPU, in pieces of at most eight minutes, resumable
# make check  format, lint and types; changes nothing
# make fix    mend what can be mended by itself
# make docs   build the documentation into site/, in an environment of its own

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Tests are rewritten and compiled once, not in each process that runs some of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-machines test-lowest fuzz faults gpu check fix docs clean

run: .venv/.installed-run
	$(BIN)/catchup-eval run $(ARGS)

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-machines: .venv/.installed-dev
	.ci/test-machines $(ARGS)

test-lowest:
	.ci/test-lowest $(ARGS)

fuzz: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz.fuzz $(ARGS)

faults: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz.faults $(ARGS)

gpu: .venv/.installed-dev
	$(BIN)/python benchmarks/gpu.py $(ARGS)

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.installed-dev .venv-docs/.installed
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet $(ARGS)

clean:
	rm -rf .venv .venv-docs .venv-lowest build dist site

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "catchup-eval needs Python 3.11 or newer; use make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# torch and torchvision come together from one index: a torch found elsewhere breaks torchvision.
.venv/.installed-run: pyproject.toml | .venv/bin/python
	@echo "installing into .venv (about two minutes the first time)"
	$(PIP) install --editable '.[attacks]'
	touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	@echo "installing into .venv (about two minutes the first time)"
	$(PIP) install --editable '.[attacks,huggingface,onnx,ood,ray,slurm,tensorboard,test,check]'
	touch $@ .venv/.installed-run

# The documentation's tools need a newer requests than torchattacks allows.
.venv-docs/.installed: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check --quiet install -r docs/requirements.txt
	touch $@
