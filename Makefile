PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # tests start many processes, and each would compile everything anew

.PHONY: help setup nav test slow lint types check benchmark results clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: .venv/.complete ## Make .venv with everything pinned in constraints.txt

.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

nav: setup ## Meta-train on 2-D navigation and compare with the published returns (goes on where it was interrupted)
	$(BIN)/python scripts/train_nav.py --resume

test: setup ## Run the tests, on two cores
	$(BIN)/pytest -n 2 --dist loadfile

slow: setup ## Run the tests that take longer than a few seconds
	$(BIN)/pytest -m slow

faults: setup ## Run the fault harness: kills, closed streams, look-ups of names
	$(BIN)/pytest -n 2 -m "slow or not slow" tests/faults

lint: setup ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## Check types
	$(BIN)/mypy

check: lint types test ## Everything a change must pass

benchmark: setup ## Time a meta-iteration of 2-D navigation (on an idle machine)
	$(BIN)/python scripts/benchmark.py Navigation2D-v0

results: setup ## Regenerate the first table of RESULTS.md (three seeds, minutes each)
	for seed in 0 1 2; do $(BIN)/python scripts/train_nav.py --seed $$seed --resume || exit 1; done
	$(BIN)/python scripts/summarise.py runs/Navigation2D-v0-finn2017-seed0 runs/Navigation2D-v0-finn2017-seed1 runs/Navigation2D-v0-finn2017-seed2

clean: ## Remove the virtual environment and caches (runs stay)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
