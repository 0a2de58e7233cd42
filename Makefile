# make demo: the whole street on a small synthetic corpus    make test: all tests
# make check: lint    make bench: the measurements    make clean: all that these made
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the virtual environment's programs first: DeepSpeed finds its launcher and ninja there
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DS_ACCELERATOR ?= cpu

DEMO := demo_run
SENTENCES ?= 24000

.PHONY: demo test check bench clean

$(VENV)/%: setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$(EXTRAS_$*)"
	touch $@

EXTRAS_use :=
EXTRAS_test := [test,offline]

demo: $(VENV)/use
	bash benchmarks/demo.sh $(DEMO) $(SENTENCES)

test: $(VENV)/test
	pytest tests

check: $(VENV)/test
	ruff check .
	ruff format --check .

bench: $(VENV)/test
	python benchmarks/data.py

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .hypothesis .ruff_cache *.egg-info
