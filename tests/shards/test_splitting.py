"""Rows that belong together are never parted; where none do, dev is what each language's rows and the seed give."""

import unicodedata
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.inspection import format_table, inspect_corpus
from mere_ds.corpus.repeats import ReadRows, fold
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import read_shard
from mere_ds.shards.splitting import draw_dev
from mere_ds.shards.summary import summary
from tests.shards.toy_corpus import HEADER, make_shards, row, write_corpus

LANGUAGES = ["de", "fr"]


def rows_of(texts, is_test, languages, ids=None, labels=None):
    rows = ReadRows(LANGUAGES, keep_ids=ids is not None)
    for i, text in enumerate(texts):
        label = labels[i] if labels else "x"
        id = ids[i] if ids else str(i)
        spans_here = ((0, 2), (4, 5)) if text.startswith("e\u0301") else ((0, 1), (2, 3))
        rows.add(
            Example(id, LANGUAGES[languages[i]], text, (Triple(spans_here[0], label, spans_here[1]),), "f", i),
            "test" if is_test[i] else "train",
        )
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_without_equal_texts_each_language_draws_by_itself(seed):
    draw = np.random.default_rng(seed)
    languages, is_test = draw.integers(0, 2, 400), draw.random(400) < 0.1
    rows = rows_of([f"a b {i}" for i in range(400)], is_test, languages)
    wanted = np.zeros(400, bool)
    for i, language in enumerate(LANGUAGES):
        train = np.flatnonzero((languages == i) & ~is_test)
        size = min((is_test & (languages == i)).sum(), len(train) // 5)
        wanted[np.random.default_rng([seed, *language.encode()]).permutation(train)[:size]] = True
    assert (draw_dev(rows, seed) == wanted).all()
    with_ids = rows_of([f"a b {i}" for i in range(400)], is_test, languages, ids=list(map(str, range(400))))
    assert draw_dev(with_ids, seed).sum() == wanted.sum()


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 1), st.booleans()), max_size=40),
    st.booleans(),
    st.sampled_from([None, 0.3]),
)
def test_rows_of_a_text_or_an_id_are_in_dev_together(drawn, parallel, dev_share):
    texts = [f"a b {text}" for text, _, _, _ in drawn]
    ids = [str(id) for _, id, _, _ in drawn]
    is_test, languages = np.array([d[3] for d in drawn], bool), np.array([d[2] for d in drawn], int)
    dev = draw_dev(rows_of(texts, is_test, languages, ids if parallel else None), 0, dev_share)
    assert not (dev & is_test).any()
    for keys in (texts, ids)[: 1 + parallel]:
        of_key = defaultdict(set)
        for place in np.flatnonzero(~is_test):
            of_key[keys[place]].add(bool(dev[place]))
        assert all(len(where) == 1 for where in of_key.values())
    for i in range(2):
        train = ((languages == i) & ~is_test).sum()
        test = ((languages == i) & is_test).sum()
        most = round(0.3 * train) if dev_share else min(test or round(0.02 * train), train // 5)
        assert (dev & (languages == i)).sum() <= max(most, 1)


def test_what_comes_back_is_counted_whatever_its_form_and_blanks():
    texts = ["é b c", "e\u0301  b c ", "é b c", "x y z", "x y z", "x\u00a0y z", "new", "x y z", "é b c"]
    labels = ["p", "q", "p", "p", "p", "p", "p", "p", "q"]
    is_test = np.array([False] * 7 + [True] * 2)
    repeats = rows_of(texts, is_test, [0] * 9, labels=labels).repeats()
    assert fold(texts[1]) == texts[0] == unicodedata.normalize("NFC", texts[0])
    # "é" in two forms is one entity, so rows 0 to 2 are two triples; of x y z the entities are the same
    assert repeats["train"] == {"texts_with_several_triples": 1, "rows_with_them": 3, "exact_duplicates": 3}
    assert repeats["test"] == {"texts_with_several_triples": 0, "rows_with_them": 0, "exact_duplicates": 0}
    assert repeats["train_and_test"] == {"texts": 2, "test_rows": 2}
    assert set(ReadRows(["de"]).repeats()["train"].values()) == {0}


def records_of(manifest, split):
    shards = manifest.splits[split].shards
    return [r for s in shards for member in read_shard(manifest.source, s, "json") for r in member["json"]]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A corpus in which each German sentence comes twice with two labels, and some also in test."""
    folder = write_corpus(tmp_path_factory.mktemp("twins"), {"fr": (40, 4)})
    texts = [f"<e1>gau{i}</e1> dorf <e2>stein{i}</e2> berlin" for i in range(100)]
    rows = [row(i, "de", label, text) for label in ("wrote", "born-in") for i, text in enumerate(texts)]
    test = [row(i, "de", "wrote", text) for i, text in enumerate(texts[:15])]
    for split, lines in (("train", rows), ("test", test)):
        (folder / f"de_corpora_{split}.tsv").write_text(HEADER + "".join(lines), encoding="utf-8", newline="\n")
    return folder


def test_twins_are_never_in_two_splits_and_inspect_shard_and_manifest_tell_of_them(twins, tmp_path):
    manifest = make_shards(twins, tmp_path / "out")
    dev = [record for record in records_of(manifest, "dev") if record["lang"] == "de"]
    texts = [record["text"] for record in dev]
    assert len(texts) == 14 and all(texts.count(text) == 2 for text in texts)
    assert manifest.splits["train"].by_language["de"] == 186
    told = inspect_corpus(open_corpus(twins))["repeats"]
    assert manifest.repeats == told == Manifest.load(tmp_path / "out").repeats
    assert told["train"] == {"texts_with_several_triples": 100, "rows_with_them": 200, "exact_duplicates": 0}
    assert told["train_and_test"] == {"texts": 15, "test_rows": 15}
    for shown in (format_table(inspect_corpus(open_corpus(twins))), summary(manifest)):
        assert "train: 100 texts occur with different triples (200 rows), 0 rows repeat another one exactly" in shown
        assert "train and test share 15 texts (15 rows of test)" in shown


def test_dev_share_and_a_dev_that_is_too_small_to_tell_anything(corpus, tmp_path):
    small = make_shards(corpus, tmp_path / "small")
    assert "warning: dev has few sentences (6 of fr, 9 of de, 1 of ko, 4 of uk)" in summary(small)
    large = make_shards(corpus, tmp_path / "large", dev_share=0.4)
    assert large.splits["dev"].by_language == {"fr": 36, "de": 60, "ko": 12, "uk": 16} and large.dev_share == 0.4
    assert "warning" not in summary(large)
    for share in (0, -0.1, 0.51, float("nan")):
        with pytest.raises(UserError, match="--dev_share.*greater than 0 and at most 0.5"):
            make_shards(corpus, tmp_path / "out", dev_share=share)


def test_a_word_that_only_dev_has_is_no_word_piece(tmp_path):
    folder = write_corpus(tmp_path / "c", {"fr": (40, 4)})
    own = "<e1>gau</e1> zwiebelturm <e2>dorf</e2> zwiebelturm zwiebelturm zwiebelturm zwiebelturm zwiebelturm"
    lines = [row(i, "de", "wrote", own if i == 0 else f"<e1>gau</e1> {i} <e2>dorf</e2>") for i in range(2)]
    (folder / "de_corpora_train.tsv").write_text(HEADER + "".join(lines), encoding="utf-8", newline="\n")
    seen = {}
    for seed in range(6):
        manifest = make_shards(folder, tmp_path / str(seed), seed=seed)
        in_dev = any("zwiebelturm" in record["text"] for record in records_of(manifest, "dev"))
        seen[in_dev] = "zwiebelturm" in load_tokenizer(manifest.source.folder / "encoder").get_vocab()
    assert seen == {True: False, False: True}
