"""A model of some of the shards' languages, and one stage one that serves several stage twos."""

import json
from functools import partial
from pathlib import Path

import pytest
from meddling import spoil
from outcomes import assert_same_tensors, checkpoint, metrics, tensors
from ranks import run_ranks

from mere_ds.config import TrainConfig
from mere_ds.errors import UserError
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.shards.manifest import Manifest
from mere_ds.training.stages import open_shards

pytestmark = pytest.mark.slow

MISUSE = 2
CHOSEN = ["de", "ko"]


@pytest.fixture(scope="module")
def train(small_shards, zero):
    """train(ranks, run=..., stage=..., ...): a short training of German and Korean."""
    return partial(
        run_ranks, shards=small_shards, deepspeed_config=zero(1), languages=",".join(CHOSEN), epochs=1,
        epochs_stage_two=2, batch_size=8, learning_rate=1e-3, bottleneck=64, log_every=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def both_stages(train, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("both") / "run"
    told = train(2, run=run, stage="all").ended(0).stderr[0]
    assert "languages: de, ko (the shards have de, en, ko)" in told
    assert "computed again" not in told, "so stage two's features are tested too"
    return run


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_knows_its_languages_alone_and_is_scored_on_them(both_stages, small_shards):
    whole = Manifest.load(small_shards)
    for stage in (1, 2):
        model = json.loads((checkpoint(both_stages, stage) / "config.json").read_text())
        assert model["languages"] == CHOSEN and len(model["label_mask"]) == len(model["language_token_ids"]) == 2
        assert model["labels"] == whole.labels
    for row in (row for row in metrics(both_stages) if row["kind"] == "dev"):
        assert {language: n["sentences"] for language, n in row["languages"].items()} == {
            language: whole.splits["dev"].by_language[language] for language in CHOSEN
        }
    (scores,) = evaluate_runs([str(both_stages)], None, "test")
    assert {language: n["sentences"] for language, n in scores["languages"].items()} == {
        language: whole.splits["test"].by_language[language] + whole.missed_test.get(language, 0) for language in CHOSEN
    }


def test_an_epoch_has_the_steps_of_the_chosen_sentences(both_stages, small_shards):
    sentences = Manifest.load(small_shards).only(CHOSEN).splits["train"].sentences
    steps = [row["step"] for row in metrics(both_stages) if (row["kind"], row["stage"]) == ("train", 1)]
    assert steps == list(range(1, 1 + -(-sentences // 16)))


@pytest.mark.parametrize("system", ["mERE", "mERE-LS"])
def test_stage_two_over_another_run_s_stage_one_is_the_same(train, both_stages, tmp_path, system):
    """A stage one of mERE-LS is that of mERE: the switcher comes in later."""
    one, two = both_stages, tmp_path / "two"
    if system == "mERE-LS":
        one = tmp_path / "one"
        train(2, run=one, stage="1", system=system).ended(0)
    before = content(one)
    train(2, run=two, stage="2", stage_one_run=one).ended(0)
    assert content(one) == before, "stage one's run is only read"
    for which in ("latest", "best"):
        assert_same_tensors(tensors(two, 2, which), tensors(both_stages, 2, which))
    assert json.loads((two / "config.json").read_text()).keys() == {"stage2"}
    ours, theirs = (evaluate_runs([str(run)], None, "test")[0] for run in (two, both_stages))
    made = [scores.pop("made_from") for scores in (ours, theirs)]
    assert ours == theirs and made[0]["predictions"] == made[1]["predictions"]
    assert made[0]["trained"].keys() == {"stage2"}, "it doesn't know what decided the other run's stage one"
    assert f"stage 2 of {two} is finished" in train(1, run=two, stage="2", stage_one_run=one).ended(0).stderr[0]


@pytest.mark.parametrize(
    ("knobs", "shown"),
    [
        ({"languages": "all"}, "it has additional languages en"),
        ({"languages": "ko,de,fr"}, "the shards contain no fr, only de, en, ko"),
        ({"la_residual": False}, "was trained with la_residual = True, but it is False now"),
        ({"pooler": "mean"}, "was trained with pooler = encoder, but it is mean now"),
        ({"stage_one_run": "/nowhere"}, "train stage one first (--stage=1 --run=/nowhere)"),
    ],
)
def test_a_stage_one_that_does_not_fit_is_refused(train, both_stages, tmp_path, knobs, shown):
    refused = train(1, **{"run": tmp_path / "run", "stage": "2", "stage_one_run": both_stages, **knobs}).ended(MISUSE)
    assert shown in refused.stderr[0].splitlines()[-1], refused


def test_stage_one_is_taken_from_a_run_not_from_a_checkpoint(train, both_stages, tmp_path):
    place = both_stages / "checkpoints" / "stage1" / "best"
    refused = train(1, run=tmp_path / "run", stage="2", stage_one_run=place).ended(MISUSE)
    said = f"{place}: is a checkpoint, not a run: pass the folder of the run that it belongs to"
    assert refused.stderr[0].splitlines()[-1].endswith(said), refused


def test_a_run_goes_on_with_the_same_languages_only(train, both_stages):
    refused = train(2, run=both_stages, stage="1", languages="de").ended(MISUSE)
    assert "--languages was de,ko, is de" in refused.stderr[0].splitlines()[-1], refused


def test_rows_of_a_batch_that_is_not_finite_are_counted_in_the_chosen_languages(train, tmp_path):
    meddle = partial(spoil, {1: ("loss", 0)})
    stopped = train(1, run=tmp_path / "run", stage="1", meddle=meddle, on_nonfinite="stop").ended(MISUSE)
    assert "rows of the train split with --languages=de,ko: rank 0: " in stopped.stderr[0].splitlines()[-1], stopped


def test_a_group_takes_what_there_is_of_it_and_says_what_is_not(small_shards, caplog):
    config = partial(TrainConfig, shards=str(small_shards), run="", deepspeed_config="")
    with caplog.at_level("INFO", "mere_ds"):
        assert open_shards(config()).languages == ["de", "en", "ko"]
        assert not caplog.messages
        assert open_shards(config(languages="EURO")).languages == ["de", "en"]
    assert caplog.messages == [
        "languages: de, en (the shards have de, en, ko)",
        "the shards have no sentences in it, fr, pt, es: ignoring these languages of --languages=EURO",
    ]
    with pytest.raises(UserError, match="--languages: the shards contain no fr, only de, en, ko"):
        open_shards(config(languages="de,fr"))
