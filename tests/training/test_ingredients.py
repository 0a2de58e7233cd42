"""What must be as it was when a stage continues, and how its global batch is divided again."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.runs.resume import check_same, fit_batch, ingredients, other_shards
from mere_ds.training.deepspeed_config import merge
from tests.model.samples import tiny_config


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(shards="s", run="r", deepspeed_config="d")


def of(config: TrainConfig, stage: int = 1, ranks: int = 2, data: str = "1" * 64, **ds) -> dict:
    """The ingredients as a checkpoint gives them back."""
    merged, config = merge(ds, config, frozenset(), ranks)
    return json.loads(json.dumps(ingredients(config, merged, stage, data, "0" * 64)))


@given(
    size=st.integers(1, 64),
    ranks=st.integers(1, 64),
    accumulation=st.integers(1, 8),
    now=st.integers(1, 64),
    multiple=st.integers(1, 6),
)
def test_a_batch_that_fits_is_the_same_batch(size, ranks, accumulation, now, multiple):
    whole = size * multiple * ranks * accumulation
    try:
        fitted, times = fit_batch(whole, now, size * multiple, multiple)
    except UserError as error:
        assert all(whole % (now * s) for s in range(multiple, size * multiple + 1, multiple))
        named = str(error).rsplit(": use ", 1)[1].removesuffix(" ranks").split(", ")
        assert all(fit_batch(whole, int(n), size * multiple, multiple) for n in named)
    else:
        assert fitted * now * times == whole
        assert fitted <= size * multiple and fitted % multiple == 0


def test_the_first_start_decides_the_global_batch_of_other_ranks(config):
    started = {"ranks": 4, "batch_size": 16, "global_batch": 64}
    for ranks, shared in {1: (16, 4), 2: (16, 2), 8: (8, 1), 32: (2, 1)}.items():
        ds, merged = merge({"gradient_accumulation_steps": 1}, config, frozenset({"accumulation"}), ranks, started)
        assert (merged.batch_size, merged.accumulation) == shared
        assert ds["train_batch_size"] == 64 and ds["gradient_accumulation_steps"] == shared[1]
    with pytest.raises(
        UserError, match="64 sentences, in LA groups of 2, can't be split over 3 ranks: use 1, 2, 4, 8, 16, 32"
    ):
        merge({}, config, frozenset(), 3, started)
    _, same_ranks = merge({}, replace(config, batch_size=8), frozenset(), 4, started)
    assert same_ranks.batch_size == 8  # what was asked for; the global batch then differs and is refused


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": 1e-4},
        {"window": 512},
        {"la_residual": False},
        {"alpha": 1.0},
        {"max_steps": 3},
        {"batch_size": 8},
    ],
)
def test_what_decides_the_result_may_not_change(config, stage, change):
    then, now = of(config, stage), of(replace(config, **change), stage)
    check_same(then, then, stage, "r")
    with pytest.raises(UserError, match=f"stage {stage} of r can't resume: .* was .*, is "):
        check_same(then, now, stage, "r")


def test_each_stage_has_knobs_of_its_own(config):
    for change, stage in (({"bottleneck": 8}, 2), ({"submodule_layers": (1, 1, 1)}, 2), ({"epochs": 9}, 1)):
        now = replace(config, **change)
        check_same(of(config, 3 - stage), of(now, 3 - stage), 3 - stage, "r")
        with pytest.raises(UserError):
            check_same(of(config, stage), of(now, stage), stage, "r")


def test_data_precision_optimizer_and_stage_one_may_not_change(config):
    then = of(config)
    for ds in ({"bf16": {"enabled": True}}, {"gradient_clipping": 2.0}, {"optimizer": {"type": "Adam"}}):
        with pytest.raises(UserError, match="can't resume"):
            check_same(then, of(config, **ds), 1, "r")
    check_same(then, of(config, zero_optimization={"stage": 3}), 1, "r")
    with pytest.raises(UserError, match=r"stage one's model \(sha256\) was 000000000000\.\.\., is 111111111111\.\.\."):
        check_same(then, then | {"stage one's model (sha256)": "1" * 64}, 1, "r")
    with pytest.raises(UserError, match="data .* was 1.* is 2.*: pass the same options as at its first start, "):
        check_same(then, of(config, data="2" * 64), 1, "r")


@pytest.mark.parametrize(
    "recorded, given, advice",
    [
        ("/a", "/b", "pass the same options and shards as at its first start (--shards=/a)"),
        (None, "/b", "pass the same options and shards as at its first start (--shards=...)"),
        ("/b", "/b", "restore the shards in /b as they were"),
    ],
)
def test_on_other_shards_the_recorded_folder_is_named(recorded, given, advice):
    assert other_shards(recorded, given) == f"{advice}, choose another --run, or start again with --overwrite"


def test_what_only_says_where_and_how_often_is_free(config):
    for stage in (1, 2):
        kept = knobs_of_stage(config, stage)
        assert not {"run", "shards", "shard_cache", "log_every", "save_minutes", "timeout", "batch_size"} & set(kept)
        assert {"seed", "learning_rate", "word_dropout"} <= set(kept)


def test_a_run_from_before_spans_were_kept_apart_goes_on_as_it_began(config):
    now = of(config)
    assert now["--overlapping_spans"] is False
    then = {name: value for name, value in now.items() if name != "--overlapping_spans"}
    check_same(then, now, 1, "r")
    assert tiny_config().overlapping_spans, "what a saved model without the choice decodes"
    with pytest.raises(UserError, match="--overlapping_spans was True, is False"):
        check_same(then | {"--overlapping_spans": True}, now, 1, "r")
