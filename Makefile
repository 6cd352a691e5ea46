# cesar-watch: every command a newcomer needs. Nothing but Python 3.11+, make and a package index is assumed.
# One virtual environment, .venv, is made on first use; `make clean` takes it away.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test soak faults faults-full bench bench-full lint types check clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	echo '*' > $(VENV)/.gitignore
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

install: $(VENV)/.installed ## Make the virtual environment with cesar-watch in it

demo: install ## Show the main job on bundled recordings
	$(BIN)/cesar-watch demo

test: install ## Run the tests
	$(BIN)/python -m pytest -n 3 --dist loadfile

soak: install ## Decode thousands of damaged recordings: minutes
	$(BIN)/python -m tests.soak

bench: install ## Run the benchmarks: ratios measured side by side on this machine
	$(BIN)/python -m tools.bench_commands
	$(BIN)/python -m tools.bench_spool
	$(BIN)/python -m tools.bench_intake
	$(BIN)/python -m tools.bench_speech

bench-full: install ## Those of large spools and of speech with the figures that are published: 40 minutes
	$(BIN)/python -m tools.bench_spool --jobs 10000
	$(BIN)/python -m tools.bench_speech --full

faults: install ## Break it on purpose, at every call that changes the disk: minutes
	$(BIN)/python -m tests.faults

faults-full: install ## The same with the counts of a release, written into docs/reliability.md: hours, in one go or several
	$(BIN)/python -m tests.faults --full --write --keep .faults.jsonl

lint: install ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## Check types strictly
	$(BIN)/mypy
	$(BIN)/mypy tools/*.py

check: lint types test ## Everything that must pass before a commit

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) .faults.jsonl .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
