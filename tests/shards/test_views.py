"""A view of shards, `Manifest.only`: as if they had been made of the chosen languages alone."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.shards import reading
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import SPLITS, Manifest
from mere_ds.shards.packing import Sentences, read_sentences
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import RowReader, ShardReader, TextReader
from tests.shards.toy_corpus import SIZES, make_shards

choices = st.permutations(sorted(SIZES)).flatmap(lambda order: st.integers(1, len(order)).map(lambda n: order[:n]))


def whole_split(manifest: Manifest, split: str) -> Sentences:
    """All sentences as they were written, languages numbered as in the files."""
    return Sentences.join([read_sentences(manifest.source, shard) for shard in manifest.splits[split].shards])


def rows_of_choice(manifest: Manifest, split: str, languages: list[str]) -> np.ndarray:
    numbers = [manifest.languages.index(language) for language in languages]
    return np.flatnonzero(np.isin(manifest.language_ids(split), numbers))


def plan_of(view: Manifest, split: str, global_batch: int, **options) -> EpochPlan:
    return EpochPlan(view.index_of(split), global_batch, **options)


def labels_by_language(manifest: Manifest) -> list[list[str]]:
    return [[x for x, n in zip(manifest.labels, mask, strict=True) if n] for mask in manifest.label_mask]


def read(view: Manifest, split: str, plan: EpochPlan, ranks: int, micro: int) -> list:
    batches = []
    for rank in range(ranks):
        with ShardReader(view, split, plan, rank, ranks, micro=micro, prefetch=False) as reader:
            batches += list(reader)
    return batches


@given(choices, st.sampled_from([1, 2, 4]), st.integers(0, 3), st.integers(1, 200), st.sampled_from(["train", "dev"]))
@settings(max_examples=25)
def test_every_chosen_sentence_is_read_once_an_epoch_and_no_other(manifest, languages, ranks, epoch, window, split):
    view, written = manifest.only(languages), whole_split(manifest, split)
    chosen = rows_of_choice(manifest, split, languages)
    plan = plan_of(view, split, 16, concatenate=2, epoch=epoch, window=window)
    seen = []
    for batch in read(view, split, plan, ranks, 16 // ranks):
        for b in np.flatnonzero(batch.weights_B.numpy()):
            row, place = int(batch.rows_B[b]), chosen[batch.rows_B[b]]
            start, length = int(written.starts[place]), int(written.lengths[place])
            assert batch.token_ids_BM[b, batch.mask_BM[b]].tolist() == written.tokens[start : start + length].tolist()
            assert languages[batch.languages_B[b]] == manifest.languages[written.languages[place]]
            assert batch.labels_T[b] == written.labels[place]
            assert batch.positions_T4[b].tolist() == written.positions[place].tolist()
            seen.append(row)
    assert sorted(seen) == list(range(len(chosen)))


@given(choices, st.integers(0, 3), st.integers(1, 200))
@settings(max_examples=15)
def test_the_global_batches_do_not_depend_on_the_ranks(manifest, languages, epoch, window):
    view = manifest.only(languages)
    plan = plan_of(view, "train", 16, concatenate=2, epoch=epoch, window=window)
    for ranks in (1, 2, 4):
        micro, by_step = 16 // ranks, [[] for _ in range(plan.steps)]
        for i, batch in enumerate(read(view, "train", plan, ranks, micro)):
            by_step[i % plan.steps] += batch.rows_B.tolist()
        assert by_step == [batch for window in range(plan.windows) for batch in plan.batches_of(window).tolist()]


@given(choices, st.data())
@settings(max_examples=15)
def test_a_view_of_a_view_is_the_view(manifest, languages, data):
    inner = data.draw(st.permutations(languages).map(lambda order: order[: 1 + len(order) // 2]))
    twice, once = manifest.only(languages).only(inner), manifest.only(inner)
    assert twice == once and twice.sha256 == manifest.sha256
    for split in SPLITS:
        assert twice.lengths(split).tolist() == once.lengths(split).tolist()
        assert twice.language_ids(split).tolist() == once.language_ids(split).tolist()
    shard = manifest.splits["train"].shards[0]
    written = read_sentences(manifest.source, shard)
    assert twice.chosen(written).languages.tolist() == once.chosen(written).languages.tolist()


def test_all_languages_are_no_view(manifest):
    assert manifest.only(manifest.languages) is manifest
    sentences = whole_split(manifest, "dev")
    assert manifest.chosen(sentences) is sentences


@pytest.mark.parametrize("languages", [["de"], ["fr", "ko"], ["fr", "de", "uk"]])
def test_counts_are_those_of_shards_of_these_languages_alone(corpus, manifest, tmp_path, languages):
    encoder = str(manifest.encoder_folder)
    options = {"encoder": encoder, "max_length": 24}  # short, so that something is truncated
    view = make_shards(corpus, tmp_path / "all", **options).only(languages)
    alone = make_shards(corpus, tmp_path / "alone", languages=languages, **options).only(languages)
    assert any(split.truncated for split in alone.splits.values())
    assert (view.languages, view.files, view.missed_test) == (languages, alone.files, alone.missed_test)
    for name in SPLITS:
        here, there = (asdict(manifest.splits[name]) for manifest in (view, alone))
        assert sum(shard["sentences"] for shard in here.pop("shards")) == here["sentences"]
        del there["shards"]
        assert here == there
        assert sorted(view.lengths(name)) == sorted(alone.lengths(name))
    assert labels_by_language(view) == labels_by_language(alone)


def test_what_a_choice_can_not_learn_is_told(corpus, tmp_path):
    header, *rows = (corpus / "uk_corpora_test.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    other = tmp_path / "corpus"
    other.mkdir()
    for path in corpus.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    rows[0] = rows[0].replace("born-in", "wrote")
    rows[1] = "\t".join(["2", "", "", "wrote", "no marks", "uk\n"])
    (other / "uk_corpora_test.tsv").write_text("".join([header, *rows]), encoding="utf-8")
    manifest = make_shards(other, tmp_path / "out")
    assert (manifest.unseen_labels, manifest.missed_test) == ({}, {"uk": 1})
    uk, de = manifest.only(["uk"]), manifest.only(["de"])
    assert (uk.unseen_labels, uk.missed_test) == ({"wrote": 1}, {"uk": 1})
    assert (de.unseen_labels, de.missed_test) == ({}, {})


def test_texts_are_those_of_the_rows(manifest, corpus, tmp_path):
    manifest = make_shards(corpus, tmp_path / "out", sentences_per_shard=4)
    view = manifest.only(["uk", "de"])
    expected = TextReader(manifest, "test").texts_of(rows_of_choice(manifest, "test", ["uk", "de"]))
    assert {text["lang"] for text in expected} == {"uk", "de"}
    assert TextReader(view, "test").texts_of(range(view.splits["test"].sentences)) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_shards_without_a_chosen_sentence_are_not_read(corpus, tmp_path, monkeypatch, split):
    manifest = make_shards(corpus, tmp_path / "out", sentences_per_shard=3)
    view = manifest.only(["uk"])
    wanted = {shard.file for shard in view.splits[split].shards}
    uk = manifest.languages.index("uk")
    held = {s.file for s in manifest.splits[split].shards if uk in read_sentences(manifest.source, s).languages}
    assert wanted == held and 0 < len(wanted) < len(manifest.splits[split].shards)
    opened = set()
    monkeypatch.setattr(
        reading, "read_sentences", lambda source, shard: opened.add(shard.file) or read_sentences(source, shard)
    )
    read(view, split, plan_of(view, split, 4), 1, 4)
    assert opened == wanted


def test_features_are_those_of_the_chosen_rows_alone(manifest, tmp_path):
    view = manifest.only(["ko", "fr"])
    rows = np.arange(view.splits["train"].sentences)
    store = FeatureStore(tmp_path, view, "train", 4, torch.float16)
    assert store.blocks == 1 and store.rows_of(0).tolist() == rows.tolist()
    assert store.total_bytes == (len(rows) + view.splits["train"].tokens) * 4 * 2 + 32, "with one seal"
    batches = list(RowReader(view, "train").by_length(rows, 300))
    assert sorted(row for batch in batches for row in batch.rows_B.tolist()) == rows.tolist()
    for batch in batches:
        assert batch.mask_BM.sum(1).tolist() == view.lengths("train")[batch.rows_B.numpy()].tolist()
        assert batch.languages_B.tolist() == view.language_ids("train")[batch.rows_B.numpy()].tolist()


def test_a_language_that_is_not_there_is_refused(manifest):
    with pytest.raises(UserError, match="contains no it, sv, only fr, de, ko, uk"):
        manifest.only(["de", "it", "sv"])
    with pytest.raises(UserError, match="contains no fr, only de"):
        manifest.only(["de"]).only(["fr"])
