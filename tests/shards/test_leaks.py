"""--drop_leaks: training and dev have no sentence whose text is in test."""

import json
from collections import Counter

import numpy as np
import pytest

from mere_ds.corpus.repeats import fold
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.summary import summary
from tests.shards.toy_corpus import HEADER, make_shards, row, whole_split, write_corpus, write_json_lines


def texts_of(manifest, split):
    """The token ids of each sentence without its language symbol, by which texts are told apart."""
    s = whole_split(manifest, split)
    starts = s.starts.tolist()
    return Counter(tuple(s.tokens[a + 2 : a + n].tolist()) for a, n in zip(starts, s.lengths.tolist(), strict=True))


def add(folder, name, rows):
    with (folder / name).open("a", encoding="utf-8", newline="\n") as file:
        file.write("".join(rows))


def leaky_tables(folder):
    """40 German sentences of training that test has, half of them twice, one in another form; one in French."""
    write_corpus(folder, {"de": (60, 9), "fr": (60, 4)})
    texts = [f"<e1>gau{i}</e1> dorf <e2>stein{i}</e2> berlin" for i in range(20)]
    add(folder, "de_corpora_test.tsv", [row(i, "de", "wrote", text) for i, text in enumerate(texts)])
    again = [row(i, "de", label, text) for label in ("wrote", "leaked") for i, text in enumerate(texts)]
    other = [row(90, "de", "wrote", texts[0].replace(" dorf", "\u00a0 dorf") + " ")]
    add(folder, "de_corpora_train.tsv", again + other)
    add(folder, "fr_corpora_train.tsv", [row(91, "fr", "wrote", texts[3])])
    return folder


def test_texts_of_test_are_in_no_other_split_and_all_else_is(tmp_path):
    folder = leaky_tables(tmp_path / "corpus")
    plain, shards = make_shards(folder, tmp_path / "plain"), make_shards(folder, tmp_path / "out", drop_leaks=True)
    assert plain.dropped_leaks is None
    assert shards.dropped_leaks == Manifest.load(tmp_path / "out").dropped_leaks == {"train": {"fr": 1, "de": 41}}
    assert "sentences of train files taken out because test has their text: 1 of fr, 41 of de" in summary(shards)
    rows = {name: split.by_language for name, split in shards.splits.items()}
    assert {language: rows["train"][language] + rows["dev"][language] for language in ("de", "fr")} == {
        **{"de": 60, "fr": 60}
    }
    assert rows["test"] == plain.splits["test"].by_language
    assert rows["dev"] == {"fr": 4, "de": 12}  # a fifth of what is left, not of all rows
    assert "leaked" in plain.labels and "leaked" not in shards.labels
    assert shards.repeats == plain.repeats and shards.repeats["train_and_test"]["texts"] == 20
    clean = make_shards(write_corpus(tmp_path / "clean", {"de": (60, 9), "fr": (60, 4)}), tmp_path / "of_clean")
    encoder = str(clean.encoder_folder)
    found = make_shards(folder, tmp_path / "found", drop_leaks=True, encoder=encoder)
    without = make_shards(tmp_path / "clean", tmp_path / "without", encoder=encoder)
    both = [texts_of(m, "train") + texts_of(m, "dev") for m in (found, without)]
    assert both[0] == both[1] and not both[0].keys() & texts_of(found, "test").keys()
    assert np.array_equal(found.label_mask, without.label_mask)


def test_words_of_leaks_are_no_word_pieces_of_tiny(tmp_path):
    folder = write_corpus(tmp_path / "corpus", {"de": (80, 5)})
    text = "<e1>qqqq</e1> dorf <e2>stein</e2>"
    add(folder, "de_corpora_train.tsv", [row(i, "de", "wrote", text) for i in range(20)])
    add(folder, "de_corpora_test.tsv", [row(1, "de", "wrote", text)])
    for drop, has in ((False, True), (True, False)):
        shards = make_shards(folder, tmp_path / str(drop), drop_leaks=drop)
        assert any("qq" in piece for piece in load_tokenizer(shards.encoder_folder).get_vocab()) == has


def test_dev_files_lose_their_leaks_too(tmp_path):
    folder = write_json_lines(tmp_path / "lines", {"de": (40, 5, 5), "uk": (20, 3, 3)})
    leaked = (folder / "de.test.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    for name in ("de.train.jsonl", "de.dev.jsonl"):
        add(folder, name, [line + "\n" for line in leaked])
    plain, shards = make_shards(folder, tmp_path / "plain"), make_shards(folder, tmp_path / "out", drop_leaks=True)
    assert plain.splits["train"].sentences == 62 and plain.splits["dev"].sentences == 10
    assert shards.dropped_leaks == {"train": {"de": 2}, "dev": {"de": 2}}
    assert shards.splits["train"].sentences == 60 and shards.splits["dev"].sentences == 8


def test_without_leaks_the_shards_are_the_same_and_say_so(tmp_path):
    folder = write_json_lines(tmp_path / "lines", {"de": (40, 5, 5)})
    texts = Counter(fold(json.loads(x)["text"]) for p in folder.iterdir() for x in p.read_text("utf-8").splitlines())
    assert max(texts.values()) == 1
    plain, shards = make_shards(folder, tmp_path / "plain"), make_shards(folder, tmp_path / "out", drop_leaks=True)
    assert shards.dropped_leaks == {"train": {}, "dev": {}} and shards.splits == plain.splits
    assert "sentences of dev files taken out because test has their text: none" in summary(shards)


def test_a_corpus_whose_training_is_in_test_is_refused(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = [row(i, "de", "wrote", f"<e1>gau{i}</e1> <e2>stein</e2>") for i in range(5)]
    for split in ("train", "test"):
        (folder / f"de_corpora_{split}.tsv").write_text(HEADER + "".join(rows), encoding="utf-8")
    with pytest.raises(UserError, match="--drop_leaks leaves no training sentence"):
        make_shards(folder, tmp_path / "out", drop_leaks=True)
