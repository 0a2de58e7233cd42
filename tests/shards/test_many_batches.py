"""Batches of shards of sentences with any number of triples, on every rank."""

import json
import shutil
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import Sentences, describe
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import RowReader, ShardReader, TextReader
from mere_ds.shards.sealing import seal
from tests.shards.file_server import Server
from tests.shards.toy_corpus import triples_of, whole_split


def plan_of(manifest, split="train", global_batch=16, **options) -> EpochPlan:
    return EpochPlan(manifest.index_of(split), global_batch, **options)


def triples_in(batch, b: int) -> list:
    own = (batch.sentence_T == b).nonzero()[:, 0]
    columns = batch.labels_T[own], batch.positions_T4[own], batch.cuts_T4[own]
    return [(int(label), positions.tolist(), cuts.tolist()) for label, positions, cuts in zip(*columns, strict=True)]


def check_batch(batch, whole, places):
    """`places` are those of the batch's rows in `whole`, -1 for a filler."""
    assert torch.equal(batch.sentence_T, batch.sentence_T.sort().values)
    assert len(batch.sentence_T) == len(batch.labels_T) == len(batch.positions_T4) == len(batch.cuts_T4)
    for b, place in enumerate(places):
        if place < 0:
            assert not triples_in(batch, b) and batch.weights_B[b] == 0
        else:
            assert triples_in(batch, b) == triples_of(whole, place)


@settings(max_examples=12)
@given(
    st.sampled_from([1, 2, 4]), st.sampled_from([2, 4]), st.sampled_from([1, 2]), st.integers(1, 120),
    st.sampled_from(["train", "dev", "test"]), st.sampled_from([None, ["fr"], ["uk", "de"]]),
)  # fmt: skip
def test_every_batch_has_exactly_its_sentences_triples(many, ranks, micro, accumulation, window, split, languages):
    view = many.only(languages or many.languages)
    numbers = [many.languages.index(language) for language in view.languages]
    chosen = np.flatnonzero(np.isin(many.language_ids(split), numbers))
    whole, seen = whole_split(many, split), []
    plan = plan_of(view, split, ranks * micro * accumulation, concatenate=2, window=window)
    for rank in range(ranks):
        options = {"micro": micro, "accumulation": accumulation, "prefetch": False}
        with ShardReader(view, split, plan, rank, ranks, **options) as reader:
            for batch in reader:
                rows = batch.rows_B.tolist()
                check_batch(batch, whole, [chosen[row] if row >= 0 else -1 for row in rows])
                seen += [row for row in rows if row >= 0]
    assert sorted(seen) == list(range(len(chosen)))


def test_rows_by_length_have_their_triples(many):
    whole = whole_split(many, "train")
    for batch in RowReader(many, "train").by_length(np.arange(0, len(whole), 3), 200):
        check_batch(batch, whole, batch.rows_B.tolist())


def test_remote_shards_give_the_same_batches(many, tmp_path):
    server = Server(shutil.copytree(many.source.folder, tmp_path / "shards"))
    try:
        remote = Manifest.load(server.address, tmp_path / "cache")
        assert remote == many
        ours, theirs = (list(ShardReader(m, "train", plan_of(m), micro=16, prefetch=False)) for m in (remote, many))
        for a, b in zip(ours, theirs, strict=True):
            assert all(torch.equal(getattr(a, x), getattr(b, x)) for x in ("rows_B", "sentence_T", "positions_T4"))
        records = TextReader(remote, "test").texts_of(range(4))
        assert records == TextReader(many, "test").texts_of(range(4)) and any(len(r["triples"]) > 1 for r in records)
    finally:
        server.close()


def test_texts_whose_triples_are_not_those_of_the_arrays_are_refused(many, tmp_path):
    folder = shutil.copytree(many.source.folder, tmp_path / "shards")
    path = folder / "test-00000.tar"
    content = path.read_bytes()
    start = content.index(b'"relation": "born-in"')
    path.write_bytes(content[:start] + b'"relation": "made-of"' + content[start + 21 :])
    plain = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    plain["splits"]["test"]["shards"][0] |= asdict(describe(path))
    (folder / "manifest.json").write_bytes(seal(plain))
    with pytest.raises(UserError, match="labels of its texts do not match its arrays"):
        TextReader(Manifest.load(folder), "test").texts_of([0])


def ragged(counts: list[int], seed: int) -> Sentences:
    draw, n, t = np.random.default_rng(seed), len(counts), sum(counts)
    lengths = draw.integers(1, 9, n)
    return Sentences(
        draw.integers(0, 200, lengths.sum()), lengths, draw.integers(0, 9, n), draw.integers(0, 9, t),
        draw.integers(0, 9, (t, 4)), draw.integers(0, 9, (t, 4)), np.array(counts, np.int16),
    )  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), max_size=20), st.data())
def test_take_and_join_keep_each_sentence_s_triples(counts, data):
    whole = ragged(counts, 0)
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=30)) if counts else []
    taken = whole.take(np.array(rows, int))
    assert taken.counts.tolist() == [counts[row] for row in rows]
    found, given_ = (partial(triples_of, taken), partial(triples_of, whole))
    assert [found(place) for place in range(len(rows))] == [given_(row) for row in rows]
    cut = data.draw(st.integers(0, len(rows)))
    parts = [taken.take(np.arange(cut)), taken.take(np.arange(cut, len(rows)))]
    joined = Sentences.join(parts).stored()
    assert all(np.array_equal(joined[name], array) for name, array in taken.stored().items())
    which = np.array(data.draw(st.lists(st.booleans(), min_size=sum(counts), max_size=sum(counts))), bool)
    owners = [place for place, count in enumerate(counts) for _ in range(count)]
    assert whole.have(which).tolist() == [
        any(w for w, owner in zip(which, owners, strict=True) if owner == place) for place in range(len(counts))
    ]
