"""`mere-ds <command>`: each command calls one function and prints what it returns."""

import errno
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal

from mere_ds import flags
from mere_ds.config import CutMarks, English, Which
from mere_ds.errors import UserError
from mere_ds.files import naming
from mere_ds.knobs import takes_knobs
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.reproduction.command import reproduce
from mere_ds.streams import LINES_AT_ONCE, MOST_BYTES_AT_ONCE, MOST_LINE_BYTES, Line, batches_of_lines
from mere_ds.train import train


def inspect(
    tsv_dir: str,
    *,
    languages: str = "all",
    english: English = "auto",
    cut_marks: CutMarks = "repair",
    rejects: str | None = None,
) -> None:
    """Show what SMiLER-format files hold: rows, repairs, rejects, labels and lengths.

    Examples:
        mere-ds inspect smiler/
        mere-ds inspect smiler/ --languages=EURO --english=mid --rejects=rejects.jsonl

    Args:
        tsv_dir: Folder with {lang}_corpora_{train,test}.tsv.
        languages: all, EURO, SVO, or a list such as de,fr,ko.
        english: Which English files, where there are several: small, mid or full.
        cut_marks: What to do with an entity cut at an abbreviation's dot: repair or reject the row.
        rejects: File for the repaired and rejected rows, a JSON a line.
    """
    from mere_ds.corpus.inspection import format_table, inspect_corpus

    print(format_table(inspect_corpus(tsv_dir, languages, english, cut_marks, rejects)))


def download(out: str) -> None:
    """Download SMiLER's two archives and unpack them; a broken download resumes where it stopped.

    Examples:
        mere-ds download smiler/

    Args:
        out: Folder for archives and TSV files.
    """
    from mere_ds.corpus.download import download

    print(json.dumps(download(out), indent=2))


def synthesize(
    out: str,
    *,
    sentences: int,
    seed: int = 0,
    languages: str = "all",
    english: Literal["small", "mid", "full"] = "small",
    quirks: bool = True,
    at_least: int = 0,
) -> None:
    """Write a synthetic corpus in SMiLER's format: 14 languages, 36 labels, the original's shares and quirks.

    Examples:
        mere-ds synthesize corpus/ --sentences=20000 --seed=1

    Args:
        out: Folder for the TSV files.
        sentences: How many in all, test (2 %) included.
        seed: Same seed, same bytes.
        languages: all, EURO, SVO, or a list.
        english: Size of the English share: small, mid or full.
        quirks: Whether to add SMiLER's defects at their measured rates.
        at_least: Fewest sentences a language; the original's shares give Ukrainian 0.3 %.
    """
    from mere_ds.corpus.synthetic.generator import synthesize

    print(
        json.dumps(synthesize(out, sentences, seed, languages, english, quirks, at_least), ensure_ascii=False, indent=2)
    )


def shard(
    tsv_dir: str,
    out: str,
    *,
    encoder: str = "bert-base-multilingual-cased",
    languages: str = "all",
    english: English = "auto",
    cut_marks: CutMarks = "repair",
    max_length: int = 256,
    seed: int = 0,
    prune_vocabulary: bool = False,
    parallel_ids: bool = False,
    dev_share: float | None = None,
    overwrite: bool = False,
) -> None:
    """Tokenise a corpus into WebDataset shards with a manifest.

    Examples:
        mere-ds shard smiler/ shards/
        mere-ds shard smiler/ shards/ --encoder=e5-small --prune_vocabulary --languages=SVO
        mere-ds shard corpus/ shards/ --encoder=tiny

    Args:
        tsv_dir: Folder with {lang}_corpora_{train,test}.tsv.
        out: Folder for shards, manifest.json, rejects.jsonl and encoder/.
        encoder: A folder or hub name; tiny (random weights, for tests); e5-small (needs no hub).
        languages: all, EURO, SVO, or a list such as de,fr,ko.
        english: Which English files, where there are several: small, mid or full.
        cut_marks: What to do with an entity cut at an abbreviation's dot: repair or reject the row.
        max_length: Most tokens of a sentence, [CLS], language symbol and [SEP] included.
        seed: Seed of dev split, order and tiny's weights.
        prune_vocabulary: For e5-small: keep only the word pieces that the corpus uses.
        parallel_ids: Rows of the same id (a language code in front aside: de-12, fr-12) are translations of each other:
            dev gets all of them or none, so that none has a translation in training.
        dev_share: Share of each language's training sentences that becomes dev, up to 0.5 (None: as many as test has).
        overwrite: Replace OUT if it is there.
    """
    from mere_ds.shards.writing import shard_corpus, summary

    print(
        summary(
            shard_corpus(
                tsv_dir,
                out,
                encoder=encoder,
                languages=languages,
                english=english,
                cut_marks=cut_marks,
                max_length=max_length,
                seed=seed,
                prune_vocabulary=prune_vocabulary,
                parallel_ids=parallel_ids,
                dev_share=dev_share,
                overwrite=overwrite,
            )
        )
    )


@takes_knobs(PretrainSettings)
def pretrain_mtmb(tsv_dir: str, **given: Any) -> None:
    """Train an encoder further by Matching the Multilingual Blanks, for --system=MTMB where no hub is at hand.

    Two objectives on the corpus' training files: masked words, and two sentences with the same pair of entities, if
    possible in two languages, shall have like representations of their relation, entities mostly blanked. OUT is an
    encoder folder for `mere-ds shard --encoder` and train.py's `--encoder_weights`; to train with shards that are there
    start from their encoder. The same command again resumes from the last checkpoint, and leaves a finished OUT alone.

    Examples:
        mere-ds pretrain-mtmb smiler/ --out=mtmb
        mere-ds pretrain-mtmb smiler/ --out=mtmb --encoder=e5-small --languages=EURO --steps=20000
        tensorboard --logdir=mtmb/tensorboard
    """
    settings = PretrainSettings(tsv_dir, **given)
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
    """Score runs' models and print a table each: F1 in percent, with bootstrap intervals of the triple's.

    What several have in common is computed once: encoder and LA of all runs over one stage one, and for each k.
    Writes RUN/evaluation/test.json (all scores: by language, by label, without no_relation, confusion) and test.jsonl
    (every sentence with gold and predicted triple), or dev.json and so on; with --k=2 they are called test-k2.

    Examples:
        mere-ds evaluate runs/a
        mere-ds evaluate runs/a --split=dev --k=1,2,3,4,5,6
        mere-ds evaluate runs/mERE-LS runs/mERE-0 runs/mERE-1 runs/mERE-2

    Args:
        runs: Run folders, with blanks or commas between them.
        shards: Shards to score on (None: those each was trained on, which must not have changed).
        split: dev or test.
        k: Sub-modules that run (None: as trained, 3 by default); several, joined by commas, cost little more than one.
        which: The best model or the latest of the last stage; stage1: stage one's best, alone.
        precision: What the model computes in; 16 bits are faster where the hardware has them, and round a little.
        shard_cache: Folder that shards from an address are cached in (None: as in training).
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
    """Tell whether the triple F1 of run A differs from run B's by more than chance; both must be evaluated.

    Prints for each language, average and pooled the difference, its 95 % interval (paired bootstrap over sentences) and
    p (paired approximate randomisation). Several runs a side, joined by commas, are seeds, in the same order on both;
    runs of unlike languages (a model a language) together make one. Languages of one side alone are left out.

    Examples:
        mere-ds compare runs/mERE runs/mERE-LS-LA
        mere-ds compare runs/a1,runs/a2,runs/a3 runs/b1,runs/b2,runs/b3 --out=a-b.json
        mere-ds compare runs/mERE runs/mERE --k=1,6

    Args:
        run_a: Run folder or folders of side A.
        run_b: Of side B.
        split: dev or test.
        k: Compare what mere-ds evaluate --k=K wrote (None: without --k); two numbers are A's and B's.
        parallel_ids: Rows of the same id (a language code in front aside: de-12, fr-12) are translations of each other:
            chance takes them together.
        out: JSON file for the result, seeds' mean and deviation included.
    """
    from mere_ds.evaluation.comparison import compare_runs
    from mere_ds.evaluation.table import format_comparison
    from mere_ds.files import write_json

    ks = (None,) if k is None else k
    if len(ks) not in (1, 2):
        raise UserError(f"--k={','.join(map(str, ks))}: give one number, or A's and B's")
    result = compare_runs(run_a, run_b, split, (ks[0], ks[-1]), parallel_ids)
    print(format_comparison(result))
    if out:
        write_json(Path(out), result)


def report(runs: tuple[str, ...], *, out: str) -> None:
    """Put runs beside the paper: one HTML page with its tables and figures, and every answer to browse.

    The runs must have been scored by mere-ds evaluate. Those that differ in nothing but the seed share a row; a model a
    language (--system=mERE-LS-LA --languages=de and so on) are the row MONO. Writes OUT/index.html, which needs no
    network, its plots as OUT/figures/*.png and as images of TensorBoard, and its tables as OUT/tables.txt, which it
    prints.

    Examples:
        mere-ds report runs/a --out=report/
        mere-ds report runs/mERE-0 runs/mERE-1 runs/mERE-LS-0 runs/mERE-LS-LA-0 --out=report/

    Args:
        runs: Run folders, with blanks or commas between them.
        out: Folder for the report.
    """
    from mere_ds.evaluation.report.making import make_report

    page = make_report(runs, out)
    print(page.with_name("tables.txt").read_text(encoding="utf-8"))
    print(f"Look at it: {page}")


def extract(
    run: str,
    text: str | None = None,
    *,
    lang: str,
    file: str | None = None,
    k: int | None = None,
    which: Which = "best",
) -> None:
    """Print the triple of each text as a line of JSON, with character offsets.

    Texts come from the command line, from --file, or from standard input, one a line, in UTF-8. Exactly one answer a
    line comes out, as soon as no further line is there to be read: an empty line and one that isn't UTF-8 get no triple
    and a note; of a text longer than the model's max_length tokens only the beginning is read, and a note says so. An
    empty TEXT or a language that the model doesn't know is refused (exit code 2). A TEXT that begins with a dash goes
    behind -- or into --text=.

    Examples:
        mere-ds extract runs/a --lang=de "Anna Berg wurde in Köln geboren."
        mere-ds extract runs/a --lang=ko --file=sentences.txt > triples.jsonl
        cat sentences.txt | mere-ds extract runs/a --lang=ko

    Args:
        run: Run folder, or the folder of one of its checkpoints.
        text: One text.
        lang: Language of the texts, such as de.
        file: UTF-8 file with one text a line.
        k: Sub-modules that run (None: as trained, 3 by default).
        which: The best model or the latest of the last stage; stage1: stage one's best, alone, and each answer says so.
    """
    if text is not None and file is not None:
        raise UserError("TEXT and --file are both given; give one")
    if text is not None and not text.strip():
        raise UserError("TEXT is empty")
    batches = _lines_of(file) if text is None else iter(())
    from mere_ds.runs.trained import used_model

    model = used_model(run, which)
    model.check_language(lang)  # before torch is loaded
    model.check_k(k)
    from tqdm import tqdm

    from mere_ds.inference import Extractor

    extractor = Extractor.load(model.folder, k)
    if not model.finished:
        sys.stderr.write(f"{run}: stage {model.stage} is not finished: answers are of its step {model.step}\n")
    beside = {"stage": model.stage} if model.lacks_stage_two else {}
    if text is not None:
        return _print_lines(extractor.extract([text], lang), beside)
    number = 0
    with tqdm(unit="text", disable=None if file else True) as bar:
        for lines in batches:
            _print_lines(extractor.extract_lines(lines, number, lang), beside)
            number += len(lines)
            bar.update(len(lines))


def _print_lines(answers: Iterable[dict], beside: dict) -> None:
    """A line an answer, each with the fields `beside`."""
    with naming(Path("standard output")):
        for answer in answers:
            print(json.dumps(answer | beside, ensure_ascii=False, allow_nan=False))
        sys.stdout.flush()  # whoever waits for an answer before writing the next line gets it


def _lines_of(file: str | None) -> Iterator[list[Line]]:
    """Batches of a file's or of standard input's lines; the file is opened at once."""
    if file is None and sys.stdin is None:
        raise UserError("standard input is closed: give TEXT or --file")
    try:
        number = os.open(file, os.O_RDONLY) if file else sys.stdin.fileno()
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise UserError(f"--file={file}: {error.strerror}") from None

    def read(most: int) -> bytes:
        with naming(Path(file or "standard input")):
            return os.read(number, most)

    waits = not stat.S_ISREG(os.fstat(number).st_mode)
    return batches_of_lines(read, LINES_AT_ONCE, MOST_LINE_BYTES, MOST_BYTES_AT_ONCE, at_once=waits)


_FUNCTIONS = (inspect, download, synthesize, shard, pretrain_mtmb, train, evaluate, compare, report, reproduce, extract)
COMMANDS = {f.__name__.replace("_", "-"): f for f in _FUNCTIONS}


def main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    flags.program(COMMANDS, sys.argv[1:], "mere-ds")
