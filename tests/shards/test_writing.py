import hashlib
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.reading import read_file, split_files
from mere_ds.encoders.sources import fingerprint, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import read_sentences, read_shard
from mere_ds.shards.summary import summary
from mere_ds.shards.writing import shard_corpus
from tests.shards.toy_corpus import HEADER, LABELS, SIZES, TINY, make_shards, row, write_corpus


def sentences_of(manifest, split):
    return [read_sentences(manifest.source, shard) for shard in manifest.splits[split].shards]


def records_of(manifest, split):
    shards = manifest.splits[split].shards
    return [r for s in shards for member in read_shard(manifest.source, s, "json") for r in member["json"]]


def examples_of(corpus, split):
    return [e for file in split_files(corpus) if file.split == split for e in read_file(file.path)]


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def add_rows(corpus, language, split, *texts):
    path = corpus / f"{language}_corpora_{split}.tsv"
    old = path.read_text(encoding="utf-8") if path.exists() else HEADER
    new = "".join(row(900 + i, language, "born-in", text) for i, text in enumerate(texts))
    path.write_text(old + new, encoding="utf-8", newline="\n")


def test_every_sentence_of_the_corpus_is_in_one_split_with_its_tokens(corpus, manifest):
    tokenizer = load_tokenizer(manifest.source.folder / "encoder")
    texts = Counter()
    for split in ("train", "dev", "test"):
        for part in sentences_of(manifest, split):
            for i in range(len(part)):
                ids = part.tokens[part.starts[i] : part.starts[i] + part.lengths[i]].tolist()
                language = manifest.languages[part.languages[i]]
                assert ids[:2] == [tokenizer.cls_token_id, manifest.encoder.language_token_ids[language]]
                assert ids[-1] == tokenizer.sep_token_id
                spans = part.positions[i].reshape(2, 2)
                words = tuple(tuple(ids[first : last + 1]) for first, last in spans)
                key = (language, manifest.labels[part.labels[i]], tuple(ids[2:-1]), words)
                texts[split == "test", key] += 1
    expected = Counter()
    backend = tokenizer.backend_tokenizer
    for split in ("train", "test"):
        for example in examples_of(corpus, split):
            words = backend.encode(example.text, add_special_tokens=False)
            spans = tuple(
                tuple(i for i, (a, b) in zip(words.ids, words.offsets, strict=True) if a < end and b > start)
                for start, end in (example.triples[0].head, example.triples[0].tail)
            )
            expected[split == "test", (example.language, example.triples[0].relation, tuple(words.ids), spans)] += 1
    assert texts == expected


def test_training_shards_mix_languages_and_the_index_is_in_shard_order(manifest):
    parts = sentences_of(manifest, "train")
    assert [len(part) for part in parts] == manifest.shard_sizes("train") == [40] * 7 + [10]
    assert all(len(set(part.languages)) >= 3 for part in parts if len(part) == 40)
    assert np.array_equal(np.concatenate([part.lengths for part in parts]), manifest.lengths("train"))
    assert np.array_equal(np.concatenate([part.languages for part in parts]), manifest.language_ids("train"))


def test_dev_is_as_large_as_test_and_only_dev_and_test_carry_texts(corpus, manifest):
    assert manifest.splits["dev"].by_language == {"fr": 6, "de": 9, "uk": 4, "ko": 1}
    assert manifest.splits["test"].by_language == {"fr": 6, "de": 9, "uk": 4}
    assert sum(len(part) for part in sentences_of(manifest, "train")) == sum(n for n, _ in SIZES.values()) - 20
    assert records_of(manifest, "train") == []
    tests = [
        {
            "id": e.id,
            "text": e.text,
            "lang": e.language,
            "triples": [{"head": [*t.head], "relation": t.relation, "tail": [*t.tail]}],
        }
        for e in examples_of(corpus, "test")
        for t in e.triples
    ]
    assert records_of(manifest, "test") == tests
    dev = {record["id"] for record in records_of(manifest, "dev")}
    assert len(dev) == 20 and dev < {e.id for e in examples_of(corpus, "train")}


def test_dev_of_a_language_depends_on_the_seed_and_on_that_language_alone(corpus, manifest, tmp_path):
    def dev_of(manifest, language):
        return {record["id"] for record in records_of(manifest, "dev") if record["lang"] == language}

    german = make_shards(corpus, tmp_path / "de", languages="de")
    assert dev_of(german, "de") == dev_of(manifest, "de")
    other = make_shards(corpus, tmp_path / "other", languages=["de"], seed=1)
    assert dev_of(other, "de") != dev_of(manifest, "de")


def test_translations_are_held_out_together(tmp_path):
    counts = {"de": (40, 8), "fr": (60, 30), "uk": (20, 4)}
    corpus = write_corpus(tmp_path / "corpus", counts)
    for path in corpus.glob("*_train.tsv"):
        language = path.name[:2]
        header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        numbered = [f"{language}-{i}\t{row.partition(chr(9))[2]}" for i, row in enumerate(rows)]
        path.write_text(header + "".join(numbered), encoding="utf-8", newline="\n")
    manifest = make_shards(corpus, tmp_path / "out", parallel_ids=True)
    dev = Counter(record["id"].partition("-")[2] for record in records_of(manifest, "dev"))
    having = {str(i): sum(i < train for train, _ in counts.values()) for i in range(60)}
    assert dev and all(count == having[number] for number, count in dev.items())
    sizes = manifest.splits["dev"].by_language
    assert sizes["uk"] == 4 and sizes["de"] == 8 and sizes["fr"] == 12  # a fifth at most
    again = make_shards(corpus, tmp_path / "again", parallel_ids=True)
    assert records_of(again, "dev") == records_of(manifest, "dev")


@pytest.mark.parametrize("sizes, dev", [((1, 0), 0), ((2, 0), 1), ((4, 3), 1), ((50, 30), 10), ((100, 0), 2)])
def test_sizes_of_dev(tmp_path, sizes, dev):
    manifest = make_shards(write_corpus(tmp_path / "c", {"fr": (30, 3), "de": sizes}), tmp_path / "out")
    assert manifest.splits["dev"].by_language.get("de", 0) == dev
    assert manifest.splits["train"].by_language["de"] == sizes[0] - dev


def test_counts_labels_and_masks(corpus, manifest):
    assert manifest.languages == ["fr", "de", "ko", "uk"] and manifest.labels == ["born-in", "made-of", "wrote"]
    train, test = (
        [(e.language, e.triples[0].relation) for e in examples_of(corpus, split)] for split in ("train", "test")
    )
    counts = Counter()
    for split in ("train", "dev"):
        for language, labels in manifest.splits[split].counts.items():
            counts.update({(language, label): n for label, n in labels.items()})
    assert counts == Counter(train)
    flat = {(a, b): n for a, row in manifest.splits["test"].counts.items() for b, n in row.items()}
    assert flat == Counter(test)
    for language, shown in zip(manifest.languages, manifest.label_mask, strict=True):
        assert shown == [int(label in LABELS[language]) for label in manifest.labels]
    for split in manifest.splits:
        facts, lengths = manifest.splits[split], manifest.lengths(split)
        assert facts.sentences == len(lengths) == sum(manifest.shard_sizes(split))
        assert facts.tokens == lengths.sum() and facts.lengths["max"] == lengths.max()
        assert facts.lengths["p50"] == sorted(lengths)[(len(lengths) - 1) // 2]


def test_same_input_and_seed_give_the_same_bytes(corpus, manifest, tmp_path):
    again = make_shards(corpus, tmp_path / "again")
    assert digests(again.source.folder) == digests(manifest.source.folder)
    assert again == manifest
    other = make_shards(corpus, tmp_path / "other", seed=1)
    assert other.splits["train"].shards[0].sha256 != manifest.splits["train"].shards[0].sha256


def test_overlong_rows_are_rejected_in_training_and_misses_in_test(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"de": (60, 5), "fr": (30, 3)})
    filler = " ".join(["berlin"] * 300)
    survives, cut = f"<e1>gau</e1> <e2>dorf</e2> {filler}", f"<e1>gau</e1> {filler} <e2>dorf</e2>"
    add_rows(corpus, "de", "train", survives, cut, cut)
    add_rows(corpus, "de", "test", survives, cut)
    manifest = make_shards(corpus, tmp_path / "out", max_length=128)
    train, test = manifest.splits["train"], manifest.splits["test"]
    files = {file["file"]: file for file in manifest.files}
    rejected = files["de_corpora_train.tsv"]["rejected"]
    assert rejected == {"span_beyond_max_length": 2}
    assert files["de_corpora_train.tsv"]["kept"] == files["de_corpora_train.tsv"]["rows"] - 2 == 61
    assert train.by_language["de"] + manifest.splits["dev"].by_language["de"] == 61
    assert sum(split.truncated.get("de", 0) for split in manifest.splits.values()) >= 3
    assert test.by_language["de"] == 7 and test.cut_spans == {"de": 1} and manifest.missed_test == {}
    part = sentences_of(manifest, "test")[0]
    lost = np.flatnonzero((part.positions < 0).any(axis=1))
    assert part.positions[lost].tolist() == [[2, 2, -1, -1]]
    assert part.lengths.max() == 128
    lines = [json.loads(line) for line in (manifest.source.folder / "rejects.jsonl").open(encoding="utf-8")]
    assert [(r["file"], r["line"], r["kept"]) for r in lines] == [
        ("de_corpora_train.tsv", 63, False),
        ("de_corpora_train.tsv", 64, False),
        ("de_corpora_test.tsv", 8, True),
    ]
    assert {r["reason"] for r in lines} == {"span_beyond_max_length"}
    original = (corpus / "de_corpora_test.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[2]["raw"] == original[7]


def test_rejected_test_rows_are_counted_as_misses_but_empty_ones_are_not(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"de": (60, 5), "fr": (30, 3)})
    path = corpus / "de_corpora_test.tsv"
    rows = [
        "1\ta\tb\twrote\ta and <e2>b</e2>\tde\n",
        "2\ta\tb\twrote\t\tde\n",
        "3\ta\tb\twrote\t<e1></e1> <e2>b</e2>\tde\n",
    ]
    path.write_text(path.read_text(encoding="utf-8") + "".join(rows), encoding="utf-8")
    manifest = make_shards(corpus, tmp_path / "out")
    assert manifest.missed_test == {"de": 2}
    assert manifest.splits["test"].by_language["de"] == 5
    lines = (manifest.source.folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["missing_mark", "empty_text", "empty_pair"]


def test_marks_inside_tokens_are_counted(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"fr": (40, 0), "de": (20, 2)})
    add_rows(corpus, "de", "test", "<e1>gau</e1> b<e2>erli</e2>n gau", "<e1>gau</e1> <e2>gau</e2> gau")
    manifest = make_shards(corpus, tmp_path / "out")
    parts = sentences_of(manifest, "test")[0]
    assert manifest.splits["test"].unaligned["de"] == (parts.cuts != 0).any(axis=1).sum() >= 1


def test_labels_that_training_lacks_are_told_and_languages_without_training_may_have_all(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"de": (40, 4), "ko": (0, 5)})
    path = corpus / "de_corpora_test.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("\tborn-in\t", "\tunheard-of\t"), encoding="utf-8")
    text = row(99, "de", "unheard-of", "<e1>gau</e1> <e2>dorf</e2>")
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    manifest = make_shards(corpus, tmp_path / "out")
    column = manifest.labels.index("unheard-of")
    assert manifest.unseen_labels["unheard-of"] >= 1 and set(manifest.unseen_labels) == {"unheard-of"}
    assert manifest.label_mask == [[int(i != column) for i in range(len(manifest.labels))]] * 2
    assert "unheard-of" in summary(manifest)


def test_the_encoder_in_the_folder_is_the_one_that_made_the_tokens(manifest):
    manifest.check_tokenizer(fingerprint(load_tokenizer(manifest.source.folder / "encoder")))
    with pytest.raises(UserError, match="made with another tokenizer .*encoder tiny, languages fr, de, ko, uk"):
        manifest.check_tokenizer("0" * 64)


def test_the_summary_names_every_count(manifest):
    lines = summary(manifest).splitlines()
    assert lines[0].split()[:4] == ["language", "train", "dev", "test"]
    assert lines[2].split()[:4] == ["de", "141", "9", "9"]
    assert lines[5].split()[:4] == ["all", "290", "20", "19"]


def test_an_existing_folder_is_replaced_only_on_demand_and_only_if_it_holds_shards(corpus, tmp_path):
    out = tmp_path / "out"
    first = make_shards(corpus, out, languages="fr")
    (out / "train-99999.tar").write_bytes(b"left over")
    with pytest.raises(UserError, match="exists already.*--overwrite"):
        make_shards(corpus, out)
    assert Manifest.load(out) == first
    second = make_shards(corpus, out, overwrite=True)
    assert second.languages == ["fr", "de", "ko", "uk"] and not (out / "train-99999.tar").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not a shards folder"):
        make_shards(corpus, precious, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "precious"}


def test_a_failure_leaves_nothing_behind(corpus, tmp_path):
    with pytest.raises(UserError, match="--max_length=1000: must be at most 512, the limit of tiny"):
        make_shards(corpus, tmp_path / "out", max_length=1000)
    assert not list(tmp_path.iterdir())


def test_misuse_is_refused(corpus, tmp_path, monkeypatch):
    only_test = write_corpus(tmp_path / "c", {"de": (0, 5)})
    with pytest.raises(UserError, match="no training file"):
        make_shards(only_test, tmp_path / "out")
    for options in ({"sentences_per_shard": 0}, {"sentences_per_member": 0}, {"seed": -1}):
        with pytest.raises(UserError):
            make_shards(corpus, tmp_path / "out", **options)
    unusable = tmp_path / "unusable"
    unusable.mkdir()
    (unusable / "de_corpora_train.tsv").write_text(HEADER + "1\ta\tb\twrote\t<e1>a</e1>\tde\n")
    (unusable / "fr_corpora_train.tsv").write_text(HEADER)
    with pytest.raises(UserError, match="no text to train"):
        make_shards(unusable, tmp_path / "out")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(UserError, match="make room"):
        shard_corpus(corpus, tmp_path / "out", encoder="tiny", tiny=TINY)


def test_the_manifest_says_how_another_tool_s_files_were_read_and_of_ours_nothing(tmp_path, manifest):
    assert manifest.read_as == {} and "read_as" not in (manifest.source.folder / "manifest.json").read_text()
    rows = [{"satz": f"gau{i} dorf", "kind": "near", "a": [0, 5], "b": [6, 10]} for i in range(10, 50)]
    (tmp_path / "tables").mkdir()
    for split in ("train", "test"):
        lines = "".join(json.dumps(row) + "\n" for row in rows).replace("gau", f"{split[:3]}")
        (tmp_path / "tables" / f"{split}.jsonl").write_text(lines)
    columns = ("text=satz", "relation=kind", "head_start=a.0", "head_end=a.1", "tail_start=b.0", "tail_end=b.1")
    options = SourceOptions(lang="de", map=columns, end="exclusive", offsets="char")
    made = make_shards(tmp_path / "tables", tmp_path / "out", options=options)
    assert made.read_as == {
        **{"format": "table", "lang": "de", "split": "auto", "map": list(columns), "offsets": "char"},
        **{"end": "exclusive", "ambiguous": "reject", "cut": "auto"},
    }
    assert Manifest.load(tmp_path / "out").read_as == made.read_as
