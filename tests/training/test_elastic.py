"""A training continues with another number of ranks and another ZeRO stage: the same sentences, the same losses."""

import json
import signal
from functools import partial
from pathlib import Path

import pytest
from meddling import every, record_rows, signal_before_update
from outcomes import metrics
from ranks import run_ranks

pytestmark = pytest.mark.slow

FIRST_STOP, STEPS = 5, 27
KNOBS = {
    "epochs": 3, "epochs_stage_two": 1, "batch_size": 4, "learning_rate": 1e-3, "word_dropout": 0.1, "bottleneck": 64,
    "submodule_layers": "1,2", "top_k": 1, "log_every": 1, "save_steps": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def start(small_shards, zero):
    """start(ranks, run, rows, zero_stage, stop at, ...): train, each rank noting the rows of its updates in `rows`."""

    def start(ranks: int, run: Path, rows: Path, zero_stage: int = 1, stop: tuple | None = None, stage: str = "1"):
        rows.mkdir(parents=True)
        meddles = [partial(record_rows, rows), *([partial(signal_before_update, *stop)] if stop else [])]
        return run_ranks(
            ranks, run=run, shards=small_shards, stage=stage, deepspeed_config=zero(zero_stage),
            meddle=partial(every, *meddles), **KNOBS,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    start(4, folder / "run", folder / "rows", stage="all").ended(0)
    return folder


def trained(rows: Path) -> dict[tuple[int, int], list[int]]:
    """The sentences of each update, on all ranks together: (stage, step) -> sorted rows."""
    updates: dict[tuple[int, int], list[int]] = {}
    for file in rows.glob("*.jsonl"):
        for line in map(json.loads, file.read_text().splitlines()):
            updates.setdefault((line["stage"], line["step"]), []).extend(line["rows"])
            assert line["trains"] or line["stage"] == 2, "dropout, though the encoder was loaded; stage two freezes it"
    return {update: sorted(rows) for update, rows in updates.items()}


def losses(run: Path) -> dict[tuple[int, int], float]:
    found = [((row["stage"], row["step"]), row["loss"]) for row in metrics(run) if row["kind"] == "train"]
    assert len(dict(found)) == len(found), "each step once"
    return dict(found)


def assert_same_training(run: Path, parts: list[Path], uninterrupted: Path, stages: tuple[int, ...]) -> None:
    """`parts`: the rows of each start; an update that a kill undid counts as its repetition made it."""
    wanted = {u: rows for u, rows in trained(uninterrupted / "rows").items() if u[0] in stages}
    made: dict = {}
    for part in parts:
        made |= trained(part)
    assert made == wanted
    reference = {u: loss for u, loss in losses(uninterrupted / "run").items() if u[0] in stages}
    assert losses(run) == pytest.approx(reference, rel=1e-4)


def test_an_epoch_holds_each_sentence_once(uninterrupted, small_shards):
    sentences = json.loads((small_shards / "manifest.json").read_text())["splits"]["train"]["sentences"]
    updates, size = trained(uninterrupted / "rows"), 16
    epoch = -(-sentences // size)
    assert sorted(row for step in range(1, epoch + 1) for row in updates[1, step]) == list(range(sentences))
    assert FIRST_STOP + 20 <= STEPS <= 3 * epoch and epoch < FIRST_STOP + 20


@pytest.mark.parametrize("zero_stages", [(3, 0, 2, 1), (0, 3, 1, 2)], ids=str)
def test_four_ranks_two_one_and_four_again(start, uninterrupted, tmp_path, zero_stages):
    """Left by a stop signal at updates 5, 12 and 19; no update is lost or made twice."""
    run = tmp_path / "run"
    told = [(signal.SIGTERM, 1, FIRST_STOP, 3), (signal.SIGUSR1, 1, 12, 0), (signal.SIGTERM, 1, 19, 0), None]
    for i, (ranks, zero_stage, stop) in enumerate(zip((4, 2, 1, 4), zero_stages, told, strict=True)):
        start(ranks, run, tmp_path / str(i), zero_stage, stop).ended(85 if stop else 0)
    parts = [tmp_path / str(i) for i in range(4)]
    assert sum(len(trained(part)) for part in parts) == STEPS
    assert_same_training(run, parts, uninterrupted, stages=(1,))


def test_killed_in_both_stages_and_gone_on_with_fewer_ranks(start, uninterrupted, tmp_path):
    run = tmp_path / "run"
    kills = [(4, (signal.SIGKILL, 1, 15, 2)), (2, (signal.SIGKILL, 2, 8, 1)), (1, None)]
    for i, (ranks, stop) in enumerate(kills):
        codes = start(ranks, run, tmp_path / str(i), stop=stop, stage="all").codes
        assert (-signal.SIGKILL in codes and codes.count(1) == ranks - 1) if stop else codes == [0]
    assert_same_training(run, [tmp_path / str(i) for i in range(len(kills))], uninterrupted, stages=(1, 2))


def test_ranks_that_cannot_share_the_batch_are_told_which_could(start, tmp_path):
    run = tmp_path / "run"
    start(4, run, tmp_path / "a", stop=(signal.SIGTERM, 1, 2, 0)).ended(85)
    refused = start(3, run, tmp_path / "b").ended(2)
    assert "global batch of 16" in refused.stderr[0] and "use 1, 2, 4, 8 ranks" in refused.stderr[0], refused
