"""Training with a language temperature: both stages draw as the log says, whatever interrupts them."""

import json
import re
import signal
from collections import Counter
from functools import partial

import numpy as np
import pytest
from meddling import every, record_rows, signal_before_update
from outcomes import assert_same_results, state

from mere_ds.shards.drawing import described, draws_of
from mere_ds.shards.manifest import Manifest
from tests.shards.test_drawing import times_of

pytestmark = pytest.mark.slow

T = 3.0


@pytest.fixture(scope="module")
def warm_train(train):
    return partial(train, language_temperature=T)


@pytest.fixture(scope="module")
def uninterrupted(warm_train, tmp_path_factory):
    """The run, what each stage trained on, and the log."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "rows").mkdir()
    warm_train(2, run=folder / "run", meddle=partial(record_rows, folder / "rows")).ended(0)
    return folder


def trained(folder) -> dict[int, dict[int, list[int]]]:
    """By stage and step the sorted rows of all ranks."""
    stages: dict = {1: {}, 2: {}}
    for file in folder.glob("*.jsonl"):
        for line in map(json.loads, file.read_text().splitlines()):
            stages[line["stage"]].setdefault(line["step"], []).extend(line["rows"])
    return {stage: {step: sorted(rows) for step, rows in steps.items()} for stage, steps in stages.items()}


def test_each_epoch_of_both_stages_is_what_the_log_says(uninterrupted, dropout_shards):
    manifest = Manifest.load(dropout_shards)
    index = manifest.index_of("train")
    log = (uninterrupted / "run" / "log.txt").read_text()
    for stage, steps in trained(uninterrupted / "rows").items():
        per_epoch = state(uninterrupted / "run", stage)["step"] // 2
        for epoch in range(2):
            rows = [row for step in range(1, per_epoch + 1) for row in steps[epoch * per_epoch + step]]
            times = times_of(index, T, 0, epoch)
            assert Counter(rows) == {row: n for row, n in enumerate(times.tolist()) if n}
        said = f"stage {stage}: each epoch at --language_temperature=3: " + "; ".join(
            described(manifest.languages, index.counts_U, T)
        )
        assert said in log
    assert re.search(r"\d+ draws of \d+ sentences, \d+ (left out|once)", log)
    assert not np.array_equal(draws_of(index.counts_U, T), index.counts_U)


def test_killed_in_both_stages_it_ends_with_the_same_bits(warm_train, uninterrupted, tmp_path):
    for stage, step in ((1, 7), (2, 10)):
        result = warm_train(2, run=tmp_path, meddle=partial(signal_before_update, signal.SIGKILL, stage, step, 1))
        assert result.codes[1] == -signal.SIGKILL, result
    warm_train(2, run=tmp_path).ended(0)
    assert_same_results(tmp_path, uninterrupted / "run")


def test_other_numbers_of_ranks_train_on_the_same_batches(warm_train, uninterrupted, tmp_path):
    made = {}
    for ranks, stop in ((2, partial(signal_before_update, signal.SIGTERM, 1, 5, 0)), (1, None)):
        rows = tmp_path / str(ranks)
        rows.mkdir()
        meddle = partial(every, partial(record_rows, rows), *([stop] if stop else []))
        warm_train(ranks, run=tmp_path / "run", meddle=meddle, stage="1").ended(85 if stop else 0)
        made |= trained(rows)[1]
    assert made == trained(uninterrupted / "rows")[1]


def test_another_temperature_is_refused_on_resume(warm_train, uninterrupted):
    result = warm_train(2, run=uninterrupted / "run", language_temperature=1.0)
    assert set(result.codes) == {2} and "--language_temperature" in "".join(result.stderr)
