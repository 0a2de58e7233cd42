"""Shards made in parts: any number of them gives the bytes of one call, and what doesn't belong together is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from launching import mere_ds, succeeded

from mere_ds import flags, lease
from mere_ds.cli import COMMANDS
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.errors import UserError
from mere_ds.parts import Part
from mere_ds.shards import collecting, parts
from mere_ds.shards.encoding import SentenceEncoder
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import save_arrays
from mere_ds.shards.summary import summary
from mere_ds.shards.writing import join_shards, shard_corpus, shard_part
from mere_ds.sums import write_sums
from tests.corpus.formats.whole import SAMPLES, written
from tests.killing import killed_at
from tests.shards.test_leaks import leaky_tables
from tests.shards.test_windows import MOST, long_lines
from tests.shards.toy_corpus import TINY, write_corpus

FILES = {"sentences_per_shard": 40, "sentences_per_member": 16}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Units of 7 sentences; no waiting for leases, whose holders are known to be dead, and no asking git."""
    monkeypatch.setattr(collecting, "_BATCH", 7)
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(parts, "commit", lambda: None)


@pytest.fixture(scope="module")
def encoder(manifest) -> str:
    return str(manifest.encoder_folder)


@pytest.fixture
def how(encoder) -> dict:
    return {"encoder": encoder, **FILES}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_parts(corpus: Path, out: Path, of: int, **how) -> list[int]:
    """In another order than theirs; the number of sentences of each."""
    return [shard_part(corpus, out, part, **how) for part in reversed(list(Part.all(of)))][::-1]


def defective(folder: Path) -> Path:
    """SMiLER's files with its defects, rejected rows at the ends of files, and rows that are too long or alike."""
    synthesize(folder, 400, seed=5, languages="de,fr,ru,ko", at_least=40, processes=1)
    for path in sorted(folder.glob("*.tsv")):
        header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        ids = [f"{i}\t{row.partition(chr(9))[2]}" for i, row in enumerate([*rows, *rows[:9]])]
        path.write_text("".join([header, *ids, "\n", "no row\n"]), encoding="utf-8", newline="\n")
    return folder


def labels_map(folder: Path) -> str:
    path = folder.with_suffix(".labels.json")
    path.write_text(json.dumps({"born-in": "native-of", "made-of": None}))
    return str(path)


MANY = {"max_length": MOST, "windows": True, "negative_labels": ("wrote",)}
CASES: dict[str, tuple[Callable[[Path], Path], dict]] = {
    "SMiLER's files with defects": (defective, {"max_length": 30, "parallel_ids": True, "seed": 3}),
    "rows of test in training": (leaky_tables, {"drop_leaks": True, "dev_share": 0.3}),
    "windows of many triples": (long_lines, MANY),
    "an encoder from the corpus": (long_lines, MANY | {"encoder": "tiny", "tiny": TINY}),
    "dev files": (lambda folder: long_lines(folder, {"de": (60, 8, 12), "fr": (20, 3, 0)}), {"max_length": MOST}),
    "one triple": (lambda folder: long_lines(folder, {"de": (90, 0, 30)}), {"triples": "one", "max_length": MOST}),
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpora")
    return {case: make(folder / str(number)) for number, (case, (make, _)) in enumerate(CASES.items())}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(list(CASES)), of=st.integers(1, 6), at_once=st.integers(1, 40), mapped=st.booleans())
@example(case="SMiLER's files with defects", of=3, at_once=7, mapped=False)
@example(case="windows of many triples", of=9, at_once=40, mapped=True)
def test_any_number_of_parts_gives_the_same_bytes(
    corpora, how, tmp_path_factory, monkeypatch, case, of, at_once, mapped
):
    monkeypatch.setattr(collecting, "_BATCH", at_once)
    corpus, folder = corpora[case], tmp_path_factory.mktemp("out")
    how = how | CASES[case][1] | ({"label_map": labels_map(corpus)} if mapped else {})
    whole = shard_corpus(corpus, folder / "whole", **how)
    sentences = make_parts(corpus, folder / "out", of, **how)
    joined = join_shards(corpus, folder / "out", of, **how)
    assert contents(folder / "out") == contents(folder / "whole")
    assert summary(joined) == summary(whole)
    left_out = sum(sum(languages.values()) for languages in (whole.dropped_leaks or {}).values())
    assert sum(sentences) == sum(split.sentences for split in whole.splits.values()) + left_out


def test_the_cases_have_what_could_be_dropped_or_counted_twice(corpora, how, tmp_path):
    shards = {
        case: shard_corpus(corpora[case], tmp_path / str(number), **how | CASES[case][1])
        for number, case in enumerate(CASES)
    }
    found = {
        case: [set(file["rejected"]) | set(file.get("left_out", {})) for file in m.files] for case, m in shards.items()
    }
    defects = set().union(*found["SMiLER's files with defects"])
    assert {"span_beyond_max_length", "too_few_columns", "empty_row"} <= defects
    assert shards["SMiLER's files with defects"].repeats["train"]["exact_duplicates"]
    assert shards["SMiLER's files with defects"].missed_test
    assert "between_windows" in set().union(*found["windows of many triples"])
    assert shards["windows of many triples"].windows["windows"]["fr"]
    assert shards["rows of test in training"].dropped_leaks["train"]
    assert "not_one_triple" in set().union(*found["one triple"])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_can_be_made_in_parts(how, tmp_path, monkeypatch, name):
    monkeypatch.setattr(collecting, "_BATCH", 1)
    made = SAMPLES[name]()
    corpus = written(tmp_path / "corpus", made.files)
    how |= {"options": SourceOptions(**{"format": name, "split": "train", "lang": "de", **made.options})}
    shard_corpus(corpus, tmp_path / "whole", **how)
    assert len(make_parts(corpus, tmp_path / "out", 2, **how)) == 2
    join_shards(corpus, tmp_path / "out", 2, **how)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_each_part_tokenises_its_share_alone(corpus, how, tmp_path, monkeypatch):
    done = []
    tokenise = SentenceEncoder.encode_examples
    monkeypatch.setattr(
        SentenceEncoder, "encode_examples", lambda self, its: (done.append(len(its)), tokenise(self, its))[1]
    )
    shard_corpus(corpus, tmp_path / "whole", **how)
    whole, shares = sum(done), []
    for part in Part.all(4):
        done.clear()
        shard_part(corpus, tmp_path / "out", part, **how)
        shares.append(sum(done))
    done.clear()
    join_shards(corpus, tmp_path / "out", 4, **how)
    assert sum(shares) == whole and max(shares) < 0.3 * whole and not done


def test_parts_are_alike_where_files_are_small_and_large_by_turns(how, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"de": (42, 3), "fr": (42, 3), "uk": (42, 3)})
    sentences = make_parts(corpus, tmp_path / "out", 2, **how)
    assert sum(sentences) == 135 and abs(sentences[0] - sentences[1]) <= 14


def test_a_part_is_a_folder_that_other_programs_can_check_and_the_join_takes_it_away(corpus, how, tmp_path):
    make_parts(corpus, tmp_path / "out", 2, **how)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["parts"]
    folders = sorted((tmp_path / "out" / "parts").iterdir())
    assert [folder.name for folder in folders] == ["1-of-2", "2-of-2"]
    for folder in folders:
        listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
        assert listed == {path.name for path in folder.iterdir() if path.is_file()} - {"SHA256SUMS"}
        record = json.loads((folder / "record.json").read_text())
        assert record["made_from"]["encoder"] == how["encoder"] and record["made_from"]["source"]
        assert record["versions"]["mere_ds"] == record["made_from"]["mere_ds"]
    with pytest.raises(UserError, match=r"contains no manifest\.json"):
        Manifest.load(tmp_path / "out")
    join_shards(corpus, tmp_path / "out", 2, **how)
    assert not (tmp_path / "out" / "parts").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_killed_at_any_change_on_disk_a_part_is_made_again(corpus, how, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    shard_corpus(corpus, whole, **how)
    shard_part(corpus, out, Part(1, 2), **how)
    last = Part(2, 2)
    number = 1
    while killed_at(number, lambda: shard_part(corpus, out, last, **how)):
        if not (out / "parts" / str(last)).exists():
            with pytest.raises(UserError, match="of its 2 parts, 2/2 is not finished"):
                join_shards(corpus, out, 2, **how)
        shard_part(corpus, out, last, **how)
        assert (out / "parts" / str(last) / "record.json").exists()
        shutil.rmtree(out / "parts" / str(last))
        number += 1
    assert number > 4
    join_shards(corpus, out, 2, **how)
    assert contents(out) == contents(whole)


@pytest.mark.slow
def test_killed_at_any_change_on_disk_the_join_loses_nothing(corpus, how, tmp_path):
    whole, out, kept = tmp_path / "whole", tmp_path / "out", tmp_path / "kept"
    shard_corpus(corpus, whole, **how)
    make_parts(corpus, kept, 2, **how)
    number = 1
    shutil.copytree(kept, out)
    while killed_at(number, lambda: join_shards(corpus, out, 2, **how)):
        if not (out / "manifest.json").exists():
            join_shards(corpus, out, 2, **how)
        assert contents(out) == contents(whole)
        shutil.rmtree(out)
        shutil.copytree(kept, out)
        number += 1
    assert number > 4 and contents(out) == contents(whole)


def edited(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes a part's record as another program, whose list of digests is right, would have written it."""
    record = json.loads((folder / "record.json").read_text())
    change(record)
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "SHA256SUMS").unlink()
    write_sums(folder)


def doubled(first: Path, second: Path) -> None:
    shutil.rmtree(second)
    shutil.copytree(first, second)


def of_another_number(first: Path, second: Path) -> None:
    first.rename(first.with_name("1-of-3"))


def of_another_version(first: Path, second: Path) -> None:
    edited(second, lambda record: record["made_from"].update(mere_ds="0.0"))


def of_another_tokeniser(first: Path, second: Path) -> None:
    edited(second, lambda record: record["made_from"].update(tokenizers="0.0"))


def read_otherwise(first: Path, second: Path) -> None:
    edited(second, lambda record: record["read"].update(rows=1))


def with_another_unit(first: Path, second: Path) -> None:
    with np.load(second / "sentences.npz") as arrays:
        changed = dict(arrays)
    changed["sizes"][0, 0] = 0
    save_arrays(second / "sentences.npz", changed)
    edited(second, lambda record: None)


def cut_off(first: Path, second: Path) -> None:
    path = second / "tokens"
    path.write_bytes(path.read_bytes()[:-1])


def other_words(first: Path, second: Path) -> None:
    path = first / "encoder" / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b" ")


REFUSALS = {
    lambda first, second: shutil.rmtree(second): "of its 2 parts, 2/2 is not finished: run the command with --part",
    doubled: r"2-of-2: holds the part 1-of-2: copy this part again",
    of_another_number: r"1-of-3 is none of 2 parts: pass --join with the number of parts that were made",
    of_another_version: r"2-of-2: was begun from something else \(mere_ds was \"0.0\", is",
    of_another_tokeniser: r"2-of-2: was begun from something else \(tokenizers was \"0.0\", is",
    read_otherwise: r"2-of-2: read the source otherwise than 1-of-2 \(rows\): make both again",
    with_another_unit: r"parts: the parts don't fit together: make them again with --overwrite",
    cut_off: r"2-of-2: damaged \(tokens does not match its sha256\): copy this part again",
    lambda first, second: (second / "record.json").unlink(): r"damaged \(record.json: No such file or directory\)",
    lambda first, second: (second / "SHA256SUMS").unlink(): r"damaged \(SHA256SUMS is missing or unreadable\)",
    other_words: r"tokenizer.json: damaged",
}


@pytest.mark.parametrize(("spoil", "message"), REFUSALS.items())
def test_parts_that_do_not_belong_together_are_refused_and_stay(corpus, how, tmp_path, spoil, message):
    make_parts(corpus, tmp_path / "out", 2, **how)
    spoil(*(tmp_path / "out" / "parts" / str(part) for part in Part.all(2)))
    before = contents(tmp_path)
    with pytest.raises(UserError, match=message) as refused:
        join_shards(corpus, tmp_path / "out", 2, **how)
    assert "\n" not in str(refused.value) and contents(tmp_path) == before


@pytest.mark.parametrize("what", ["source", "max_length", "seed", "drop_leaks"])
def test_a_part_or_join_of_another_source_or_with_other_flags_is_refused(how, tmp_path, what):
    corpus = write_corpus(tmp_path / "corpus", {"de": (40, 9)})
    make_parts(corpus, tmp_path / "out", 2, **how)
    if what == "source":
        write_corpus(corpus, {"de": (40, 9)}, seed=1)
    else:
        how[what] = {"max_length": 99, "seed": 1, "drop_leaks": True}[what]
    message = rf"1-of-2: was begun from something else \(.*{what} was .*\): pass what it was begun with, or --overwrite"
    for act in (lambda: shard_part(corpus, tmp_path / "out", Part(1, 2), **how),
                lambda: join_shards(corpus, tmp_path / "out", 2, **how)):  # fmt: skip
        with pytest.raises(UserError, match=message):
            act()
    make_parts(corpus, tmp_path / "out", 2, overwrite=True, **how)
    join_shards(corpus, tmp_path / "out", 2, **how)
    shard_corpus(corpus, tmp_path / "whole", **how)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_that_are_there_stay_until_the_join_replaces_them(corpus, how, tmp_path):
    out = tmp_path / "out"
    before = shard_corpus(corpus, out, **how, seed=1)
    for act in (lambda: shard_part(corpus, out, Part(1, 1), **how), lambda: join_shards(corpus, out, 1, **how)):
        with pytest.raises(UserError, match="exists already: choose another folder or pass --overwrite"):
            act()
    shard_part(corpus, out, Part(1, 1), **how, overwrite=True)
    assert Manifest.load(out) == before
    assert join_shards(corpus, out, 1, **how, overwrite=True) != before
    shard_corpus(corpus, tmp_path / "whole", **how)
    assert contents(out) == contents(tmp_path / "whole")


def test_one_call_does_not_replace_parts(corpus, how, tmp_path):
    shard_part(corpus, tmp_path / "out", Part(1, 2), **how)
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"exists already|is not a shards folder"):
            shard_corpus(corpus, tmp_path / "out", **how, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_a_corpus_without_usable_sentences_is_refused_when_its_parts_are_joined(how, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"de": (9, 0)})
    how |= {"max_length": 5}
    assert make_parts(corpus, tmp_path / "out", 2, **how) == [0, 0]
    for act in (lambda: join_shards(corpus, tmp_path / "out", 2, **how),
                lambda: shard_corpus(corpus, tmp_path / "whole", **how)):  # fmt: skip
        with pytest.raises(UserError, match="contains no usable sentence"):
            act()


def said(*words) -> int:
    """The exit code of the command."""
    try:
        flags.run(COMMANDS, list(map(str, words)), "mere-ds")
    except SystemExit as ended:
        return ended.code or 0
    return 0


def test_the_command(corpus, encoder, tmp_path, capsys):
    out, flag = tmp_path / "out", f"--encoder={encoder}"
    assert [said("shard", corpus, out, flag, f"--part={number}/2") for number in (1, 2, 2)] == [0, 0, 0]
    told = capsys.readouterr().err
    assert f"{out}, part 1/2: " in told and f"{out}, part 2/2: is whole already: nothing to do\n" in told
    assert said("shard", corpus, out, flag, "--join=2") == 0
    joined = capsys.readouterr().out
    assert said("shard", corpus, tmp_path / "whole", flag) == 0
    assert capsys.readouterr().out == joined and contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_parts_of_several_processes_fit_together(corpora, tmp_path):
    """Each process has hashes of its own."""
    corpus, out = corpora["rows of test in training"], tmp_path / "out"
    words = ("--encoder=tiny", "--drop_leaks", "--parallel_ids")
    for more in (["--part=1/2"], ["--part=2/2"], ["--join=2"]):
        succeeded(mere_ds("shard", corpus, out, *words, *more))
    succeeded(mere_ds("shard", corpus, tmp_path / "whole", *words))
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--part=3/2"], "--part=3/2: must be such as 2/4, the second of four parts"),
        (["--part=1/2", "--join=2"], "--part and --join are both given: first make each part, then join them"),
        (["--join=0"], "--join=0: must be at least 1, the number of parts"),
        (["--join=2"], "of its 2 parts, 1/2, 2/2 are not finished"),
        (["--join=2000000000"], "8/2000000000 and others are not finished"),
    ],
)
def test_what_the_command_refuses_is_one_line(corpus, encoder, tmp_path, capsys, words, message):
    assert said("shard", corpus, tmp_path / "out", f"--encoder={encoder}", *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mere-ds: ")]
    assert message in line and not (tmp_path / "out").exists()
