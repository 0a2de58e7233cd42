"""`mere-ds <command>`: each command calls one function and prints its result."""

import json
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any, Literal

from mere_ds import flags
from mere_ds.config import Which
from mere_ds.corpus_commands import convert, download, inspect, shard, synthesize
from mere_ds.errors import UserError
from mere_ds.exporting.command import export
from mere_ds.knobs import takes_knobs
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.reproduction.command import reproduce
from mere_ds.serving.command import serve
from mere_ds.torch_environment import prepare_use
from mere_ds.train import train
from mere_ds.use_commands import extract


@takes_knobs(PretrainSettings)
def pretrain_mtmb(tsv_dir: str, **given: Any) -> None:
    """Pretrain an encoder further with Matching the Multilingual Blanks, for --system=MTMB without access to the hub.

    Two objectives on the corpus' training files: masked words, and similar relation representations for two sentences
    with the same pair of entities (in two languages if possible), in which most entities are blanked out. A sentence
    with several triples takes part once with each, one without triples for masked words only. OUT is an
    encoder folder for `mere-ds shard --encoder` and train.py's `--encoder_weights`; to train on existing shards, start
    from their encoder. Running the same command again resumes from the last checkpoint; a finished OUT is not changed.

    Examples:
        mere-ds pretrain-mtmb smiler/ --out=mtmb
        mere-ds pretrain-mtmb smiler/ --out=mtmb --encoder=e5-small --languages=EURO --steps=20000
        mere-ds pretrain-mtmb annotations/ --out=mtmb --format=brat --lang=es
        tensorboard --logdir=mtmb/tensorboard
    """
    settings = PretrainSettings(tsv_dir=tsv_dir, **given)
    from mere_ds.pretraining.run import pretrain

    print(json.dumps(pretrain(settings), indent=2, allow_nan=False))


def evaluate(
    runs: tuple[str, ...],
    *,
    shards: str | None = None,
    split: Literal["dev", "test"] = "test",
    k: tuple[int, ...] | None = None,
    which: Which = "best",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    shard_cache: str | None = None,
) -> None:
    """Score the models of runs and print a table for each: F1 in percent, with bootstrap intervals for triple F1.

    Encoder and LA run once for all runs that share a stage one, and for all k.
    Writes RUN/evaluation/test.json (all scores: by language, by label, without no_relation, confusion) and test.jsonl
    (every sentence with gold and predicted triple), or dev.json and dev.jsonl; with --k=2, test-k2.json and so on.

    Examples:
        mere-ds evaluate runs/a
        mere-ds evaluate runs/a --split=dev --k=1,2,3,4,5,6
        mere-ds evaluate runs/mERE-LS runs/mERE-0 runs/mERE-1 runs/mERE-2

    Args:
        runs: Run folders, separated by spaces or commas.
        shards: Shards to score on (None: those that each run was trained on, which must not have changed).
        split: dev or test.
        k: Number of sub-modules to run (None: as trained, 3 by default); a list such as 1,2,3 costs little more.
        which: The best or the latest model of the last stage; stage1: the best model of stage one, without stage two.
        precision: Number format of the computation; 16 bits are faster where the hardware supports them, but round.
        shard_cache: Cache folder for remote shards (None: as in training).
    """
    from mere_ds.runs.run_folder import RunFolder
    from mere_ds.runs.trained import trained_model

    ks = (None,) if k is None else k
    for run, each_k in product(runs, ks):  # before torch is loaded
        trained_model(RunFolder(run), which).check_k(each_k)
    prepare_use()
    from mere_ds.evaluation.run import evaluate_runs
    from mere_ds.evaluation.table import format_evaluation

    results = evaluate_runs(runs, shards, split, ks, which, shard_cache, precision)
    for number, ((run, each_k), result) in enumerate(zip(product(runs, ks), results, strict=True)):
        titles = [run] * (len(runs) > 1) + [f"k = {each_k}"] * (each_k is not None)
        print("\n" * bool(number) + "".join(f"{title}\n" for title in titles) + format_evaluation(result))


def compare(
    run_a: tuple[str, ...],
    run_b: tuple[str, ...],
    *,
    split: Literal["dev", "test"] = "test",
    k: tuple[int, ...] | None = None,
    parallel_ids: bool = False,
    out: str | None = None,
) -> None:
    """Test whether the triple F1 of runs A and B differs by more than chance; both must have been evaluated.

    Prints, by language, averaged and pooled, the difference, its 95 % interval (paired bootstrap over sentences) and
    p (paired approximate randomisation). Several runs per side, separated by commas, are seeds, in the same order on
    both sides; runs of different languages (one model per language) count as one. Languages that only one side has are
    left out.

    Examples:
        mere-ds compare runs/mERE runs/mERE-LS-LA
        mere-ds compare runs/a1,runs/a2,runs/a3 runs/b1,runs/b2,runs/b3 --out=a-b.json
        mere-ds compare runs/mERE runs/mERE --k=1,6

    Args:
        run_a: Run folder or folders of side A.
        run_b: Run folder or folders of side B.
        split: dev or test.
        k: Compare the results of mere-ds evaluate --k=K (None: those without --k); two numbers are A's and B's.
        parallel_ids: Rows with the same id (apart from a leading language code: de-12, fr-12) are translations of each
            other and are resampled together.
        out: JSON file for the result, including mean and deviation over seeds.
    """
    from mere_ds.evaluation.comparison import compare_runs
    from mere_ds.evaluation.table import format_comparison
    from mere_ds.files import write_json

    ks = (None,) if k is None else k
    if len(ks) not in (1, 2):
        raise UserError(f"--k={','.join(map(str, ks))}: pass one number, or two (A's and B's)")
    result = compare_runs(run_a, run_b, split, (ks[0], ks[-1]), parallel_ids)
    print(format_comparison(result))
    if out:
        write_json(Path(out), result)


def report(runs: tuple[str, ...], *, out: str) -> None:
    """Compare runs with the paper: one HTML page with its tables and figures, and every prediction to browse.

    The runs must have been scored by mere-ds evaluate. Runs that differ only in the seed share a row; runs with one
    model per language (--system=mERE-LS-LA --languages=de and so on) form the row MONO. Writes OUT/index.html, which
    needs no network, its plots to OUT/figures/*.png and as TensorBoard images, and its tables to OUT/tables.txt, which
    are also printed.

    Examples:
        mere-ds report runs/a --out=report/
        mere-ds report runs/mERE-0 runs/mERE-1 runs/mERE-LS-0 runs/mERE-LS-LA-0 --out=report/

    Args:
        runs: Run folders, separated by spaces or commas.
        out: Folder for the report.
    """
    from mere_ds.evaluation.report.making import make_report

    page = make_report(runs, out)
    print(page.with_name("tables.txt").read_text(encoding="utf-8"))
    print(f"report: {page}")


_FUNCTIONS = (
    inspect,
    convert,
    download,
    synthesize,
    shard,
    pretrain_mtmb,
    train,
    evaluate,
    compare,
    report,
    reproduce,
    extract,
    export,
    serve,
)
COMMANDS = {f.__name__.replace("_", "-"): f for f in _FUNCTIONS}


def main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    flags.program(COMMANDS, sys.argv[1:], "mere-ds")
