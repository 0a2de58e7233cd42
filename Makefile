# make demo: the whole street on a small synthetic corpus    make test: all tests
# make check: lint    make bench: the measurements    make clean: all that these made
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the virtual environment's programs first: DeepSpeed finds its launcher and ninja there
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DS_ACCELERATOR ?= cpu

DEMO := demo_run
SENTENCES := 30000
# a small random encoder instead of mBERT wants a higher rate than the paper's, and word dropout to find unseen names
DEMO_KNOBS := --epochs=3 --epochs_stage_two=2 --learning_rate=2e-3 --learning_rate_stage_two=1e-3 \
              --word_dropout=0.05 --bottleneck=256

.PHONY: demo test check bench clean

$(VENV)/%: setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$(EXTRAS_$*)"
	touch $@

EXTRAS_use :=
EXTRAS_test := [test,offline]

demo: $(VENV)/use
	rm -rf $(DEMO)
	mere-ds synthesize $(DEMO)/corpus --sentences=$(SENTENCES) --at_least=1600 --seed=1 > /dev/null
	mere-ds shard $(DEMO)/corpus $(DEMO)/shards --encoder=tiny
	deepspeed --num_gpus=2 mere_ds/train.py --stage=all --shards=$(DEMO)/shards --run=$(DEMO)/run \
	    --deepspeed_config=ds_configs/cpu.json $(DEMO_KNOBS)
	mere-ds evaluate $(DEMO)/run
	mere-ds extract $(DEMO)/run --lang=en "In 1987 the engineer Clara Whitfield was born in Ashford."
	mere-ds extract $(DEMO)/run --lang=de "Anna Berg wurde 1950 in Neustadt geboren."
	mere-ds extract $(DEMO)/run --lang=fr "Le romancier Paul Marchand est né à Belleville en 1921."
	mere-ds extract $(DEMO)/run --lang=ko "김민수는 서울에서 태어났다."
	mere-ds extract $(DEMO)/run --lang=ru "Население города Новогорск составляет 52000 человек."
	@echo "Look at the run: $(BIN)/tensorboard --logdir=$(DEMO)/run/tensorboard"

test: $(VENV)/test
	pytest tests

check: $(VENV)/test
	ruff check .
	ruff format --check .

bench: $(VENV)/test
	python benchmarks/data.py

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .hypothesis .ruff_cache *.egg-info
