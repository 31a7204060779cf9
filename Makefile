# Every target sets up what it needs: a fresh clone with Python 3.11 or newer and make is enough.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3 python,$(shell command -v $(name) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Threads that wait by spinning slow the other framework down; TensorFlow's start-up notes are not news.
export OMP_WAIT_POLICY ?= passive
export OMP_NUM_THREADS ?= 2
export TF_NUM_INTRAOP_THREADS ?= 2
export TF_CPP_MIN_LOG_LEVEL ?= 3
# How many processes run tests; each takes some 3 GB of memory.
WORKERS ?= 2
# Local copies of Hub data sets are used before the network: those in a data folder beside the checkout, if any.
DATA := $(patsubst %/ylecun/mnist,%,$(firstword $(wildcard ../data/ylecun/mnist ../*/data/ylecun/mnist)))
ifneq ($(DATA),)
export XAIBENCH_DATA_HOME ?= $(abspath $(DATA))
endif

.DEFAULT_GOAL := help
.PHONY: help demo test mutants app check fix bench robust samples docs site gallery screenshots clean

help: ## show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(READY) ## write a report on a shipped classifier to reports/demo
	@$(BIN)/xaibench report digits-cnn --out reports/demo
	@echo "That is the report; open it in a browser."

test: export OMP_NUM_THREADS = 1
test: export TF_NUM_INTRAOP_THREADS = 1
test: $(READY) ## run all tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

mutants: $(READY) ## break each method on purpose and count what the tests notice
	$(BIN)/python tests/mutate.py

app: $(READY) ## open the app in a browser
	$(BIN)/xaibench app

check: $(READY) ## lint, check the format and the types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: $(READY) ## mend what can be mended by program
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## run the benchmarks
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

robust: $(READY) ## attack the hardened models again where their weights are new (hours for all)
	$(BIN)/python reports/robust.py

samples: $(READY) ## make the sample reports in reports/ that are not up to date (minutes)
	$(BIN)/python reports/samples.py

docs: $(READY) ## bring model cards and the generated parts of the documentation up to date
	$(BIN)/xaibench card
	$(BIN)/python docs/generate.py

site: $(READY) ## build the documentation as a site into site/
	@$(BIN)/python -c 'import material' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

gallery: $(READY) ## make the pictures of the documentation's gallery again (minutes)
	$(BIN)/python docs/gallery.py

screenshots: $(READY) ## take the pictures of the app and of a report again (needs Chromium)
	@$(BIN)/python -c 'import playwright' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python docs/screenshots.py

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "xaibench needs Python 3.11 or newer, and found no Python; install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "xaibench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) -V); the first time takes some minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
