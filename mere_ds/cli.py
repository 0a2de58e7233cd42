"""`mere-ds <command>`: each command calls one function and prints its result."""

import json
import os
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, Literal

from mere_ds import flags, text_input
from mere_ds.config import NO_RELATION, Which
from mere_ds.corpus_commands import convert, download, inspect, shard, synthesize
from mere_ds.errors import UserError
from mere_ds.files import naming
from mere_ds.knobs import takes_knobs
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.reproduction.command import reproduce
from mere_ds.serving.command import serve
from mere_ds.train import train


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
        shard_cache: Cache folder for shards from a server (None: as in training).
    """
    from mere_ds.runs.run_folder import RunFolder
    from mere_ds.runs.trained import trained_model

    ks = (None,) if k is None else k
    for run, each_k in product(runs, ks):  # before torch is loaded
        trained_model(RunFolder(run), which).check_k(each_k)
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


def extract(
    run: str,
    text: str | None = None,
    *,
    lang: str,
    file: str | None = None,
    min_score: float | None = None,
    max_triples: int | None = None,
    negative_label: tuple[str, ...] = (NO_RELATION,),
    keep_negative: bool = False,
    document: bool = False,
    k: int | None = None,
    which: Which = "best",
) -> None:
    """Print the triples of each text as a line of JSON, with character offsets.

    A model that was trained on one triple a sentence gives each text one, or none where its relation is a negative
    label, such as SMiLER's no_relation. One that was trained on any number gives those whose score, the probability
    that the triple is right, reaches the threshold with the best F1 on dev; the highest score comes first, and a text
    may get none.

    Texts come from the command line, from --file or from standard input, one per line, in UTF-8. Every line gets
    exactly one answer, printed as soon as no further input is waiting: an empty line and one that isn't UTF-8 get no
    triple and a note; of a text longer than the model's max_length tokens only the beginning is read, and a note says
    so. An empty TEXT or a language that the model doesn't know is refused (exit code 2). Pass a TEXT that begins with a
    dash after -- or as --text=TEXT.

    Examples:
        mere-ds extract runs/a --lang=de "Anna Berg wurde in Köln geboren."
        mere-ds extract runs/a --lang=ko --file=sentences.txt > triples.jsonl
        cat sentences.txt | mere-ds extract runs/a --lang=ko

    Args:
        run: Run folder, or the folder of one of its checkpoints.
        text: One text.
        lang: Language of the texts, such as de.
        file: UTF-8 file with one text a line.
        min_score: Least score of a triple, 0 to 1 (None: the model's threshold; without one, any).
        max_triples: Maximum number of triples per text, those with the highest scores (None: no maximum).
        negative_label: Relations that mean that there is none; answers leave them out.
        keep_negative: Give triples with these relations too.
        document: Read the whole input as one text of any length and print one triple a line, with offsets of the text,
            in the order of its sentences; nothing is cut off, and MAX_TRIPLES is of a sentence.
        k: Number of sub-modules to run (None: as trained, 3 by default).
        which: The best or the latest model of the last stage; stage1: the best model of stage one, without stage two
            (each answer says so).
    """
    if text is not None and file is not None:
        raise UserError("TEXT and --file are both given: pass only one of them")
    if text is not None and not text.strip():
        raise UserError("TEXT is empty: pass a sentence")
    batches = text_input.lines_of(file) if text is None and not document else iter(())
    if document and text is None:
        text = text_input.whole(file)
    from mere_ds.runs.trained import check_limits, used_model

    check_limits(min_score, max_triples)
    model = used_model(run, which)
    lang = model.check_language(lang)  # before torch is loaded
    model.check_k(k)
    from tqdm import tqdm

    from mere_ds.inference import Extractor

    extractor = Extractor.load(model.folder, k, min_score, max_triples, () if keep_negative else negative_label)
    if not model.finished:
        sys.stderr.write(f"{run}: stage {model.stage} is not finished: using its model at step {model.step}\n")
    beside = {"stage": model.stage} if model.lacks_stage_two else {}
    if document:
        from mere_ds.documents import extract_document

        return _print_lines(extract_document(extractor, text or "", lang), {"lang": lang} | beside)
    if text is not None:
        return _print_lines(extractor.extract([text], lang), beside)
    number = 0
    with tqdm(unit="text", disable=None if file else True) as bar:
        for lines in batches:
            _print_lines(extractor.extract_lines(lines, number, lang), beside)
            number += len(lines)
            bar.update(len(lines))


def _print_lines(answers: Iterable[dict], beside: dict) -> None:
    """Print one line per answer, each with the additional fields `beside`."""
    with naming(Path("standard output")):
        for answer in answers:
            print(json.dumps(answer | beside, ensure_ascii=False, allow_nan=False))
        sys.stdout.flush()  # the caller may wait for an answer before it writes the next line


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
    serve,
)
COMMANDS = {f.__name__.replace("_", "-"): f for f in _FUNCTIONS}


def main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    flags.program(COMMANDS, sys.argv[1:], "mere-ds")
