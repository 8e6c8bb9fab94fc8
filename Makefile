# Freehold. Bare `make` says what there is.
PYTHON ?= python3
BIN    := .venv/bin
RUN    := .venv/.run-installed
JOBS    ?= 4
ROUNDS  ?= 500
SEED    ?= 1
SECONDS ?= 60
CALLS   ?= 200000
LITELLM ?= 1.106.2
DEV    := .venv/.dev-installed

.PHONY: help up test lint bench bench-wire bench-scan bench-money bench-workers bench-peers prices names capacity soak chaos fuzz calibrate verdict hearth bundle docs lock clean
.DEFAULT_GOAL := help

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: $(RUN)  ## install from the lock and start Freehold (make up ARGS="--port 4100")
	@$(BIN)/freehold up $(ARGS)

test: $(DEV)  ## lint, types, import rules, fences, then the whole suite (what CI runs)
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(DEV)  ## ruff, mypy --strict, import-linter, fences, generated docs
	$(BIN)/ruff check src tests tools bench models
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/fences.py
	$(BIN)/python tools/docs.py --check

bench: $(DEV)  ## CPU, latency, memory, start-up; beside nginx when it is there
	$(BIN)/python bench/run.py $(ARGS)
	$(BIN)/python bench/translation.py

bench-wire: $(DEV)  ## what a translation costs in every direction, and an open stream in memory
	$(BIN)/python bench/translation.py

bench-scan: $(DEV)  ## what reading a call for sensitive content costs
	$(BIN)/python bench/scanning.py

bench-money: $(DEV)  ## what budgets and limits cost a call, and a report over ten million receipts
	$(BIN)/python bench/money.py

bench-workers: $(DEV)  ## four workers beside two: throughput and latency, as ratios
	$(BIN)/python bench/workers.py $(ARGS)

bench-peers: $(DEV)  ## the same run with LiteLLM in a venv of its own
	$(PYTHON) -m venv .venv-litellm && .venv-litellm/bin/pip install -q 'litellm[proxy]==$(LITELLM)'
	$(BIN)/python bench/run.py --peers $(ARGS)

prices: $(DEV)  ## compile the price book (SECOND=path of the second source, DATE=its day)
	$(BIN)/python tools/prices.py --second $(SECOND) --date $(DATE)

names: $(DEV)  ## train the names classifier and say how good it is (DATA=folder of the labelled texts)
	$(BIN)/python tools/names.py $(DATA)

capacity: $(DEV)  ## fit how fast engines serve to measured points (DATA=folder of serving_points.csv.gz, DATE=its day)
	$(PYTHON) -m venv .venv-fit && .venv-fit/bin/pip install -q numpy scipy msgspec
	PYTHONPATH=src .venv-fit/bin/python tools/capacity.py $(DATA) --date $(DATE)

soak: $(DEV)  ## CALLS through one Freehold (200,000), and the slope of its memory with its interval
	$(BIN)/python bench/soak.py $(CALLS)

chaos: $(DEV)  ## make trouble under load, ROUNDS times (500; an hour), and hold every receipt, budget, descriptor and megabyte against it
	cd tests && ../$(BIN)/python -m chaos.rounds $(ROUNDS) $(SEED)

fuzz: $(DEV)  ## feed every decoder and the HTTP edge with what coverage finds (SECONDS each; 60); what is new is kept in tests/fuzz/corpus
	$(BIN)/pip install -q 'atheris==3.0.0'
	cd tests && ../$(BIN)/python -m fuzz.run $(SECONDS)

calibrate: $(DEV)  ## hold the verdict's promises against simulated truth, and write the table (JUDGING=pandalm_500.jsonl.gz; half an hour)
	$(BIN)/python tools/calibrate.py --write $(if $(JUDGING),--judging $(JUDGING))

verdict: $(DEV)  ## a verdict without a key: the built-in model against a worse sibling, from nothing to build/verdict/report
	cd models/hearth && ../../$(BIN)/python demo.py --out ../../build/verdict

hearth:  ## train, evaluate and convert the built-in model (CPU, an hour and a half; resumable)
	$(MAKE) -C models/hearth PYTHON=$(PYTHON)

bundle: $(DEV)  ## what installs Freehold on a machine without any network: build/freehold-bundle.tar, with digests and a bill of materials
	$(BIN)/python tools/bundle.py

docs: $(DEV)  ## write the generated pages of the reference
	$(BIN)/python tools/docs.py

lock:  ## resolve the dependencies anew
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --no-strip-extras --upgrade pyproject.toml requirements.in -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --no-strip-extras --upgrade pyproject.toml requirements-dev.in -c requirements.lock -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --no-strip-extras --upgrade deploy/docker/extras.in -c requirements.lock -o deploy/docker/extras.lock

clean:  ## remove the environment and build output
	rm -rf .venv .venv-litellm .venv-fit build dist bench/out

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Freehold needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv

$(RUN): requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUN)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
