# make demo: the whole street on a small synthetic corpus    make test: all other tests    make test-quick: the fast ones
# make hostile: bad inputs    make check: lint and types    make bench: the measurements    make clean: all that these made
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the virtual environment's programs first: DeepSpeed finds its launcher and ninja there
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DS_ACCELERATOR ?= cpu
# images of containers often set it; then each of hundreds of processes would compile the libraries' source anew
unexport PYTHONDONTWRITEBYTECODE

DEMO := demo_run
SENTENCES := 30000
# a small random encoder instead of mBERT wants a higher rate than the paper's, and word dropout to find unseen names
DEMO_KNOBS := --epochs=4 --epochs_stage_two=1 --learning_rate=2e-3 --learning_rate_stage_two=1e-3 \
              --word_dropout=0.05 --bottleneck=256
MANY := $(DEMO)/many
MANY_KNOBS := --epochs=6 --batch_size=8 --learning_rate=2e-3 --word_dropout=0.05

.PHONY: demo test test-quick hostile check bench clean

$(VENV)/%: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$(EXTRAS_$*)"
	touch $@

EXTRAS_use := [train]
EXTRAS_test := [train,onnx,test,offline,documents,languages,serve,wandb,mlflow,s3,gs,az]

demo: $(VENV)/use
	rm -rf $(DEMO)
	mere-ds synthesize $(DEMO)/corpus --sentences=$(SENTENCES) --at_least=1600 --seed=1 > /dev/null
	mere-ds shard $(DEMO)/corpus $(DEMO)/shards --encoder=tiny
	deepspeed --num_gpus=2 mere_ds/train.py --stage=all --shards=$(DEMO)/shards --run=$(DEMO)/run \
	    --deepspeed_config=ds_configs/cpu.json $(DEMO_KNOBS)
	mere-ds evaluate $(DEMO)/run
	@echo "The first test sentence of some languages:"
	@for lang in de fr ko pl ru ar; do \
	    sed -n 2p $(DEMO)/corpus/$${lang}_corpora_test.tsv | cut -f5 | sed 's/<[^>]*>//g' \
	    | mere-ds extract $(DEMO)/run --lang=$$lang || exit 1; done
	@echo "Any number of triples a text: a second model, which starts from the first one"
	mere-ds synthesize $(MANY)/corpus --triples=many --sentences=6000 --at_least=300 --seed=2 > /dev/null
	mere-ds shard $(MANY)/corpus $(MANY)/shards --encoder=$(DEMO)/shards/encoder
	deepspeed --num_gpus=2 mere_ds/train.py --stage=1 --system=mERE-LS --start=$(DEMO)/run --shards=$(MANY)/shards \
	    --run=$(MANY)/run --deepspeed_config=ds_configs/cpu.json $(MANY_KNOBS)
	mere-ds evaluate $(MANY)/run
	@echo "The test text with the most triples of some languages:"
	@for lang in de fr ko ar; do \
	    python -c 'import json, sys; texts = map(json.loads, open(sys.argv[1], encoding="utf-8")); \
	print(max(texts, key=lambda text: len(text["triples"]))["text"])' $(MANY)/corpus/$$lang.test.jsonl \
	    | mere-ds extract $(MANY)/run --lang=$$lang || exit 1; done
	@echo "Look at the runs: $(BIN)/tensorboard --logdir=$(DEMO)"

# many tests wait for processes that start or must be found hanging, so three at a time; in the order of folders, for
# cluster/ takes longest and must not come last; one thread each, for on two cores the threads of three processes wait
# for one another: those that compute took twice as long
test: $(VENV)/test
	OMP_NUM_THREADS=1 pytest tests --numprocesses=3 --dist=loadfile --no-loadscope-reorder

# what one change is tried with: nothing that starts ranks, a cluster or a browser, no hostile cases, and fewer
# examples of each property
test-quick: $(VENV)/test
	HYPOTHESIS_PROFILE=quick OMP_NUM_THREADS=1 pytest tests --numprocesses=2 --dist=worksteal -m "not (slow or cluster or browser)"

# every hostile case, and 100,000 damaged files of all formats; `make test` runs a share of them
hostile: $(VENV)/test
	MERE_DS_HOSTILE=all OMP_NUM_THREADS=1 pytest tests/hostile tests/corpus/formats/test_damaged_files.py --numprocesses=3 --dist=worksteal --durations=5

check: $(VENV)/test
	ruff check .
	ruff format --check .
	mypy

bench: $(VENV)/test
	python benchmarks/data.py
	python benchmarks/speed.py
	python benchmarks/scaling.py --out=benchmarks/SCALING.md

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .hypothesis .ruff_cache .mypy_cache *.egg-info
