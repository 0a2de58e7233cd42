"""Shards of sentences with any number of triples, from a corpus to the batches of every rank."""

import json
import shutil
from collections import Counter

import pytest

from mere_ds.config import TrainConfig
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.shards.encoding import SentenceEncoder
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import read_shard
from mere_ds.shards.sealing import seal
from mere_ds.shards.summary import summary
from mere_ds.training.stages import model_config, open_shards
from tests.shards.toy_corpus import make_shards, row, triples_of, whole_split, write_corpus, write_json_lines


def rows_in(folder, split=None):
    return [
        (path.name.split(".")[1], json.loads(line))
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if split in (None, path.name.split(".")[1])
    ]


def distinct(row) -> list:
    return list(dict.fromkeys((*t["head"], t["relation"], *t["tail"]) for t in row["triples"]))


def records_of(manifest, split):
    shards = manifest.splits[split].shards
    return [r for s in shards for member in read_shard(manifest.source, s, "json") for r in member["json"]]


# What is in the shards


def test_counts_are_those_of_the_corpus(lines, many):
    assert many.triples == "many" and many.negative_labels == [] and many.languages == ["fr", "de", "uk"]
    for split in ("train", "dev", "test"):
        rows, found = [row for _, row in rows_in(lines, split)], many.splits[split]
        by_language, counts, by_triples = Counter(), Counter(), Counter()
        for row_ in rows:
            by_language[row_["lang"]] += 1
            by_triples[row_["lang"], str(len(distinct(row_)))] += 1
            counts.update((row_["lang"], triple[2]) for triple in distinct(row_))
        assert found.by_language == by_language and found.sentences == len(rows)
        assert {(a, b): n for a, of in found.counts.items() for b, n in of.items()} == counts
        assert {(a, b): n for a, of in found.by_triples.items() for b, n in of.items()} == by_triples
        stored = whole_split(many, split)
        assert Counter(stored.counts.tolist()) == Counter(len(distinct(row_)) for row_ in rows)
    shown = {tuple(x) for x in {(r["lang"], t[2]) for s, r in rows_in(lines) if s != "test" for t in distinct(r)}}
    mask = [[int((language, label) in shown) for label in many.labels] for language in many.languages]
    assert many.label_mask == mask


def test_dev_files_are_dev_and_nothing_is_drawn(lines, many, tmp_path):
    for split in ("dev", "test"):
        given = {(r["lang"], r["id"]): (r["text"], distinct(r)) for _, r in rows_in(lines, split)}
        found = {(r["lang"], r["id"]): (r["text"], distinct(r)) for r in records_of(many, split)}
        assert found == given
    with pytest.raises(UserError, match="--dev_share=0.1: .* contains dev files"):
        make_shards(lines, tmp_path / "out", dev_share=0.1)
    without = shutil.copytree(lines, tmp_path / "lines")
    (without / "uk.dev.jsonl").unlink()
    drawn = make_shards(without, tmp_path / "without")
    assert drawn.splits["dev"].by_language == {"fr": 5, "de": 8} and drawn.splits["train"].by_language["uk"] == 21
    assert "0 of uk" in summary(drawn) and "add some to the dev files" in summary(drawn)
    for path in without.glob("*.dev.jsonl"):
        path.unlink()
    drawn = make_shards(without, tmp_path / "drawn")
    assert drawn.splits["dev"].by_language == {"fr": 6, "de": 12, "uk": 1}


def test_every_triple_is_where_its_text_is(many):
    encoder = SentenceEncoder(load_tokenizer(many.encoder_folder), many.languages, many.max_length)
    for split in ("dev", "test"):
        stored, records = whole_split(many, split), records_of(many, split)
        assert len(stored) == len(records)
        for place, record in enumerate(records):
            [encoded] = encoder.encode_texts([record["text"]], [record["lang"]])
            found = triples_of(stored, place)
            assert len(found) == len(record["triples"])
            for (label, (a, b, c, d), cuts), triple in zip(found, record["triples"], strict=True):
                assert many.labels[label] == triple["relation"]
                assert encoded.characters(record["text"], a, b, cuts[:2]) == tuple(triple["head"])
                assert encoded.characters(record["text"], c, d, cuts[2:]) == tuple(triple["tail"])


def test_the_same_rows_in_one_file_for_all_languages_give_the_same_sentences(lines, many, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        rows = [json.dumps(r) + "\n" for _, r in rows_in(lines, split)]
        (folder / f"{split}.jsonl").write_text("".join(rows[::-1]) + "{}\n")
    other = make_shards(folder, tmp_path / "out", encoder=str(many.encoder_folder))
    for split in ("train", "dev", "test"):
        ours, theirs = other.splits[split], many.splits[split]
        for name in ("sentences", "tokens", "counts", "by_language", "by_triples", "lengths"):
            assert getattr(ours, name) == getattr(theirs, name)
    unknown = [file for file in other.files if file["language"] == ""]
    assert [(f["file"], f["rows"], f["rejected"]) for f in unknown] == [
        (f"{split}.jsonl", 1, {"unknown_language": 1}) for split in ("train", "dev", "test")
    ]
    assert other.missed_test == {} and "no language" in summary(other)
    assert {file["language"] for file in other.only(["de"]).files} == {"de", ""}


def test_languages_with_scripts_and_regions_have_their_symbols(tmp_path):
    folder = write_json_lines(tmp_path / "lines", {"de": (30, 3, 3), "uk": (30, 3, 3)})
    for path in folder.glob("*.jsonl"):
        names = {"de": "pt_BR", "uk": "zh-hant"}
        text = path.read_text(encoding="utf-8")
        for old, new in names.items():
            text = text.replace(f'"lang": "{old}"', f'"lang": "{new}"')
        path.unlink()
        (folder / f"{names[path.name[:2]]}.{path.name[3:]}").write_text(text, encoding="utf-8")
    manifest = make_shards(folder, tmp_path / "out", languages="ZH-hant,pt-br")
    assert manifest.languages == ["pt-BR", "zh-Hant"] and set(manifest.missed_test) == set()
    vocabulary = load_tokenizer(manifest.encoder_folder).get_vocab()
    symbols = manifest.encoder.language_token_ids
    assert symbols == {language: vocabulary[f"[{language}]"] for language in manifest.languages}
    assert {record["lang"] for record in records_of(manifest, "test")} == {"pt-BR", "zh-Hant"}
    assert manifest.only(["zh-Hant"]).splits["train"].by_language == {"zh-Hant": 30}


def long_row(name, language, far):
    """Two triples, of which one ends behind `far` words."""
    text = "gau dorf stein " + " ".join(["berlin"] * far) + " lingau"
    end = len(text)
    triples = [
        {"head": [0, 3], "relation": "near", "tail": [4, 8]},
        {"head": [0, 3], "relation": "far", "tail": [end - 6, end]},
        {"head": [end - 6, end], "relation": "near", "tail": [4, 8]},
    ]
    return {"id": name, "lang": language, "text": text, "triples": triples}


def test_a_triple_beyond_max_length_is_left_out_in_training_and_a_miss_elsewhere(tmp_path):
    folder = write_json_lines(tmp_path / "lines", {"de": (50, 4, 4)})
    for split in ("train", "dev", "test"):
        with (folder / f"de.{split}.jsonl").open("a") as file:
            file.write(json.dumps(long_row("long", "de", 300)) + "\n")
    manifest = make_shards(folder, tmp_path / "out", max_length=64)
    by_split = {file["split"]: file for file in manifest.files}
    assert by_split["train"]["left_out"] == {"span_beyond_max_length": 2} and by_split["train"]["kept"] == 51
    assert "far" not in manifest.splits["train"].counts["de"] and by_split["train"]["labels"]["near"] == 1
    assert all("left_out" not in by_split[split] for split in ("dev", "test"))
    for split in ("dev", "test"):
        found = manifest.splits[split]
        assert found.counts["de"]["far"] == 1 and found.cut_spans == {"de": 1} and found.sentences == 5
        positions = [p for _, p, _ in triples_of(whole_split(manifest, split), 4)]
        assert [[x >= 0 for x in p] for p in positions] == [
            [True] * 4, [True, True, False, False], [False, False, True, True]
        ]  # fmt: skip
    lines = [json.loads(line) for line in (manifest.source.folder / "rejects.jsonl").open(encoding="utf-8")]
    assert [(r["file"], r["line"], r["kept"]) for r in lines] == [
        (f"de.{split}.jsonl", n, True) for split, n in (("train", 51), ("dev", 5), ("test", 5))
    ]
    assert all(json.loads(r["raw"])["id"] == "long" for r in lines)
    told = summary(manifest)
    assert "triples left out: span_beyond_max_length 2" in told
    header, first = [line.split("  ") for line in told.splitlines()[:2]]
    named = dict(zip(filter(None, header), filter(None, first), strict=True))
    named = {name.strip(): value.strip() for name, value in named.items()}
    assert (named["left out"], named["missed in test"]) == ("2", "1")
    whole = whole_split(manifest, "train")
    assert whole.positions.min() >= 2 and len(whole) == 51


def test_rejected_test_rows_are_misses(tmp_path):
    folder = write_json_lines(tmp_path / "lines", {"de": (30, 0, 4)})
    with (folder / "de.test.jsonl").open("a") as file:
        file.write('{"id": "a"}\n\n{"id": "b", "text": "x", "triples": [{}]}\n')
    manifest = make_shards(folder, tmp_path / "out")
    assert manifest.missed_test == {"de": 2} and manifest.splits["test"].sentences == 4


# SMiLER's format with many triples


def test_negative_rows_become_sentences_without_triples(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"de": (60, 6), "fr": (30, 3)})
    options = {"triples": "many", "negative_labels": ("wrote", "NA")}
    manifest = make_shards(corpus, tmp_path / "out", **options)
    one = make_shards(corpus, tmp_path / "one")
    assert manifest.labels == ["born-in", "made-of"] and manifest.negative_labels == ["wrote", "NA"]
    for split in ("train", "dev", "test"):
        ours, theirs = manifest.splits[split], one.splits[split]
        assert ours.by_language == theirs.by_language
        for language, counts in theirs.counts.items():
            negative, others = counts.pop("wrote", 0), sum(counts.values())
            assert ours.counts.get(language, {}) == counts
            assert ours.by_triples[language] == {k: n for k, n in (("0", negative), ("1", others)) if n}
    told = summary(manifest)
    assert "no row has the negative label NA" in told and "sentences without any" in told
    assert summary(one).count("triples") == 2  # of repeated texts alone


def test_many_triples_of_rows_with_one_are_those_of_one(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"de": (60, 6)})
    one, many = (make_shards(corpus, tmp_path / triples, triples=triples) for triples in ("one", "many"))
    assert make_shards(corpus, tmp_path / "auto") == one and one.triples == "one"
    assert [s.sha256 for x in one.splits.values() for s in x.shards] == [
        s.sha256 for x in many.splits.values() for s in x.shards
    ]
    plain = json.loads((one.source.folder / "manifest.json").read_text())
    assert all("by_triples" not in split for split in plain["splits"].values())
    assert all("left_out" not in file for file in plain["files"])


def test_an_overlong_row_of_smiler_stays_without_its_triple(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"de": (40, 4)})
    path = corpus / "de_corpora_train.tsv"
    cut = f"<e1>gau</e1> {' '.join(['berlin'] * 300)} <e2>dorf</e2>"
    path.write_text(path.read_text(encoding="utf-8") + row(99, "de", "wrote", cut), encoding="utf-8", newline="\n")
    manifest = make_shards(corpus, tmp_path / "out", max_length=128, triples="many")
    (rejected,) = map(json.loads, (manifest.source.folder / "rejects.jsonl").open(encoding="utf-8"))
    assert (rejected["kept"], rejected["reason"]) == (True, "span_beyond_max_length")
    assert rejected["raw"] == path.read_text(encoding="utf-8").splitlines()[-1]
    kept = sum(manifest.splits[split].by_triples["de"].get("0", 0) for split in ("train", "dev"))
    assert kept == 1 and manifest.files[0]["left_out"] == {"span_beyond_max_length": 1}


# Refusals


def test_corpora_that_nothing_can_be_learnt_from(tmp_path):
    folder = tmp_path / "lines"
    folder.mkdir()
    good = {"id": "1", "lang": "de", "text": "gau dorf", "triples": [{"head": [0, 3], "relation": "x", "tail": [4, 8]}]}
    plain = {**good, "triples": []}

    def refused(train, test, message, **options):
        for split, rows in (("train", train), ("test", test)):
            (folder / f"de.{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        with pytest.raises(UserError, match=message):
            make_shards(folder, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()

    refused([plain] * 9, [plain], "the corpus contains no triple: run mere-ds inspect")
    refused([good] * 9, [good], "the corpus contains no triple", negative_labels=["x"])
    refused([plain] * 9, [good], "no sentence of the training files has a triple")
    refused([{}], [good], "no text to train")
    (folder / "de.train.jsonl").unlink()
    with pytest.raises(UserError, match="no training file"):
        make_shards(folder, tmp_path / "out")


def test_training_takes_them_and_checks_what_it_is_told(many, tmp_path):
    knobs = {"shards": str(many.source.folder), "run": str(tmp_path / "run"), "pairing": 5, "negative_relations": 3}
    for triples in (None, "many"):
        config = TrainConfig(**knobs, triples=triples)
        model = model_config(config, open_shards(config))
        assert (model.triples, model.pairing, model.negative_relations) == ("many", 5, 3)
    with pytest.raises(UserError, match="made with --triples=many: remove --triples=one"):
        open_shards(TrainConfig(**knobs, triples="one"))


def test_what_takes_one_triple_says_so(many, tmp_path):
    config = TrainConfig(shards=str(many.source.folder), run=str(tmp_path / "run"), system="HERBERTa")
    with pytest.raises(UserError, match="HERBERTa finds one triple a sentence"):
        model_config(config, many)


def test_a_language_without_triples_may_have_every_label(tmp_path):
    folder = write_json_lines(tmp_path / "lines", {"de": (40, 0, 4)})
    plain = {"lang": "fr", "text": "le roi", "triples": []}
    (folder / "fr.train.jsonl").write_text("".join(json.dumps({"id": str(n), **plain}) + "\n" for n in range(9)))
    manifest = make_shards(folder, tmp_path / "out")
    assert manifest.label_mask == [[1, 1, 1], [1, 1, 1]] and "fr" not in manifest.splits["train"].counts
    assert manifest.splits["train"].by_triples["fr"] == {"0": manifest.splits["train"].by_language["fr"]}


def edited(folder, *path, value):
    plain = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "manifest.json").write_bytes(seal(plain))


WRONG = {
    "one": ("triples", "one"),
    "some": ("triples", "some"),
    "no histogram": ("splits", "train", "by_triples", {}),
    "a histogram of text": ("splits", "train", "by_triples", "de", {"0": "3"}),
    "a number like no other": ("splits", "dev", "by_triples", "de", {"00": 8}),
    "other triples": ("splits", "dev", "by_triples", "de", {"1": 8}),
    "a number below 0": ("splits", "dev", "by_triples", "de", {"-1": 8}),
    "a negative label that is one": ("negative_labels", ["wrote"]),
    "a negative label twice": ("negative_labels", ["x", "x"]),
    "left out of text": ("files", 0, "left_out", {"span_beyond_max_length": "2"}),
    "left out below 0": ("files", 0, "left_out", {"span_beyond_max_length": -2}),
}


@pytest.mark.parametrize("case", WRONG)
def test_entries_that_cannot_be_are_one_line(many, tmp_path, case):
    folder = shutil.copytree(many.source.folder, tmp_path / "shards")
    *path, value = WRONG[case]
    edited(folder, *path, value=value)
    with pytest.raises(UserError, match=r"manifest\.json: ") as refused:
        Manifest.load(folder)
    assert "\n" not in str(refused.value)


def test_negative_labels_are_for_many_alone(manifest, tmp_path):
    folder = shutil.copytree(manifest.source.folder, tmp_path / "shards")
    edited(folder, "negative_labels", value=["NA"])
    with pytest.raises(UserError, match="negative_labels are for many triples"):
        Manifest.load(folder)
