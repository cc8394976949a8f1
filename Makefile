# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON chooses the interpreter; .python-version names the preferred one.
PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3)
BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check format types imports pytest fuzz bench docs lock smoke clean

## demo: train on the built-in table; leaves demo-model/ with model and report
demo: .venv/run
	$(BIN)/jaxmlp train --out demo-model
	@echo "The report is demo-model/report.html."

## test: install what is pinned, then everything that must pass
test: check

check: format types imports pytest

format: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: .venv/dev
	$(BIN)/mypy

imports: .venv/dev
	$(BIN)/lint-imports --no-cache

# Memory is handed out full of a pattern, so that a program which reads what nobody wrote
# fails each time (glibc; elsewhere without effect).
pytest: .venv/dev
	MALLOC_PERTURB_=1 MALLOC_MMAP_THRESHOLD_=33554432 \
	  $(BIN)/pytest --numprocesses 2 --dist worksteal

## fuzz: throw mutated files and arguments at the program for FUZZ_MINUTES, 20 by default
fuzz: .venv/fuzz
	$(BIN)/python -m tests.fuzz --minutes $(FUZZ_MINUTES)

FUZZ_MINUTES ?= 20

## bench: measure speed; see docs/benchmarks.md
bench: .venv/dev
	$(BIN)/python scripts/bench_training.py \
	  $(if $(wildcard .venv-torch),--torch-python .venv-torch/bin/python)
	$(BIN)/python scripts/bench_search.py
	$(BIN)/python scripts/bench_cold.py
	$(BIN)/python scripts/bench_gradients.py \
	  $(if $(wildcard .venv-opacus),--opacus-python .venv-opacus/bin/python)

## docs: build the pages into site; a warning is an error
docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

## smoke: the core of the tests on the oldest Python supported
smoke:
	scripts/smoke_oldest_python.sh

## lock: resolve the dependencies anew (needs uv)
lock:
	uv pip compile pyproject.toml $(EXTRAS) --group build $(LOCK) -o requirements/run.txt
	uv pip compile pyproject.toml $(EXTRAS) --group dev $(LOCK) \
	  --constraints requirements/run.txt -o requirements/dev.txt
	uv pip compile --group pyproject.toml:fuzz $(LOCK) -o requirements/fuzz.txt

EXTRAS = --extra cli --extra export --extra privacy --extra plots
LOCK = --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command "make lock" --quiet

## clean: remove everything that the targets above made
clean:
	rm -rf .venv .venv-oldest demo-model fuzz-findings site .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, with and without the developers' tools. Each stamp is written last, so
# an interrupted installation is taken up again.
.venv/run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --require-hashes --no-deps -r requirements/run.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/dev: requirements/dev.txt .venv/run
	$(PIP) install --require-hashes --no-deps -r requirements/dev.txt
	touch $@

.venv/fuzz: requirements/fuzz.txt .venv/dev
	$(PIP) install --require-hashes --no-deps -r requirements/fuzz.txt
	touch $@
