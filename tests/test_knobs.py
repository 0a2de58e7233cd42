"""A knob lives in its field: what is made from fields, and that no value beyond their bounds gets through."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.knobs import deciding, deepspeed_keys, knob, knobs_of, takes_knobs
from mere_ds.model.configuration import HerbertaConfig, MereConfig
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.runs.resume import check_same, ingredients
from mere_ds.training.deepspeed_config import merge
from mere_ds.training.stages import model_choices

KINDS = {
    TrainConfig: {"shards": "s", "run": "r", "deepspeed_config": "d"},
    PretrainSettings: {"tsv_dir": "t", "out": "o"},
}
"""Each class of knobs, with what must be given."""
COMMAND_OF = {TrainConfig: "train", PretrainSettings: "pretrain-mtmb"}


@dataclass(frozen=True)
class More(TrainConfig):
    spread: float = knob("Deviation of new weights.", 0.02, above=0, most=1, model="initializer_range", also="std")


@takes_knobs(More)
def more(**given: Any) -> None:
    """Train with a knob more."""


def test_a_knob_is_added_in_one_line_and_is_known_everywhere(capsys):
    config = More(**KINDS[TrainConfig], spread=0.5)
    with pytest.raises(UserError, match="^--spread=0.0: must be greater than 0 and at most 1$"):
        replace(config, spread=0.0)
    with pytest.raises(SystemExit):
        flags.run(more, ["--help"], "more")
    shown = "".join(capsys.readouterr())
    assert "--spread=SPREAD" in shown and "Deviation of new weights. [greater than 0 and at most 1]" in shown
    with pytest.raises(UserError, match="unknown flag --std .did you mean --spread"):
        flags.parse(more, ["--std=1"], "more")
    given = flags.parse(more, ["--spread=0.25", "--shards=s", "--run=r", "--deepspeed_config=d"], "more")
    assert More(**given).spread == 0.25
    ds, merged = merge({}, config, frozenset(), ranks=1)
    for stage in (1, 2):
        now = ingredients(merged, ds, stage, "data", None)
        assert now["--spread"] == 0.5
        with pytest.raises(UserError, match="--spread was 0.5, is 0.1"):
            check_same(now, now | {"--spread": 0.1}, stage, "r")
    for kind in (MereConfig, HerbertaConfig):
        assert model_choices(config, kind)["initializer_range"] == 0.5


def test_a_pretraining_knob_is_added_in_one_line():
    kind = make_dataclass(
        "MoreSettings",
        [
            ("again", int, knob("Times.", 1, least=1)),
            ("shown", bool, knob("Whether to show it.", True, on_resume="free")),
        ],
        bases=(PretrainSettings,),
        frozen=True,
    )
    settings = kind(**KINDS[PretrainSettings], again=3)
    assert deciding(settings) == deciding(PretrainSettings(**KINDS[PretrainSettings])) | {"again": 3}
    with pytest.raises(UserError, match="--again=0: must be at least 1"):
        replace(settings, again=0)


def test_a_run_from_before_a_knob_was_there_goes_on_with_its_default_only():
    ds, config = merge({}, TrainConfig(**KINDS[TrainConfig]), frozenset(), ranks=1)
    now = ingredients(config, ds, 1, "data", None)
    then = {name: value for name, value in now.items() if name not in ("--word_dropout", "--characters")}
    check_same(then, now, 1, "r")
    with pytest.raises(UserError, match="--word_dropout was 0.0, is 0.5"):
        check_same(then, now | {"--word_dropout": 0.5}, 1, "r")
    with pytest.raises(UserError, match="data .* was None"):
        check_same({name: value for name, value in then.items() if "data" not in name}, now, 1, "r")


@pytest.mark.parametrize("kind", KINDS)
def test_every_knob_is_a_flag_with_help(kind):
    command = COMMANDS[COMMAND_OF[kind]]
    assert list(inspect.signature(command).parameters) == [f.name for f in fields(kind)]
    for name, known in knobs_of(kind).items():
        assert known.help and f"    {name}: {known.help}" in command.__doc__


def test_a_knob_of_the_model_is_a_field_of_its_configuration_with_values_that_it_takes():
    """The configuration has bounds of its own, for who writes one by hand; they may not be narrower."""
    data = {"languages": ["de"], "labels": ["a"], "label_mask": [[1]], "language_token_ids": [1], "top_k": 1}
    names = {f.name for f in fields(MereConfig)}
    for name, known in knobs_of(TrainConfig).items():
        if known.model:
            assert known.model in names
            for value in filter(lambda value: value is not None, good_values(TrainConfig, name)):
                value = list(value) if isinstance(value, tuple) else value
                if name != "top_k":  # which the number of sub-modules bounds
                    MereConfig(**data | {known.model: value})


def test_deepspeed_s_keys_are_those_of_its_config_and_hold_where_nothing_was_typed():
    told = {
        "train_micro_batch_size_per_gpu": 6,
        "gradient_accumulation_steps": 3,
        "optimizer": {"params": {"lr": 0.5, "weight_decay": 0.25}},
    }
    ds, config = merge(told, TrainConfig(**KINDS[TrainConfig]), frozenset(), ranks=2)
    for key, name in deepspeed_keys(TrainConfig).items():
        value: Any = told
        for part in key.split("."):
            value = value[part]
        assert getattr(config, name) == value
    assert ds["train_batch_size"] == 36 and ds["optimizer"]["params"] == told["optimizer"]["params"]


def plain_type(kind: type, name: str) -> Any:
    """A knob's type without None; of a tuple, that of its elements."""
    hint = get_type_hints(kind)[name]
    hint = next((k for k in get_args(hint) if k is not type(None)), hint) if type(None) in get_args(hint) else hint
    return get_args(hint)[0] if get_origin(hint) is tuple else hint


def is_tuple(kind: type, name: str) -> bool:
    return get_origin(get_type_hints(kind)[name]) is tuple


def bad_values(kind: type, name: str) -> Iterator[Any]:
    """Values that no such knob has."""
    plain, bounds = plain_type(kind, name), knobs_of(kind)[name].bounds
    yield []
    if plain is not str:
        yield "x"
    if get_origin(plain) is Literal or plain in (str, bool):
        yield from (((value,) if is_tuple(kind, name) else value) for value in (1.5, math.nan, 10**30, -1))
    else:
        most = bounds.get("most", 2**31 - 1 if plain is int else None)
        number = [math.nan, math.inf, -math.inf, -1, -0.5, 10**30, 1e30, True]
        number += [bounds[edge] for edge in ("above", "below") if edge in bounds]
        number += [bounds["least"] - 1] if "least" in bounds else []
        number += [most + 1 if plain is int else math.nextafter(most, math.inf)] if most else []
        number += [1.5] if plain is int else []
        number += [] if type(None) in get_args(get_type_hints(kind)[name]) else [None]
        yield from (((1, value) for value in number) if is_tuple(kind, name) else number)


def good_values(kind: type, name: str) -> Iterator[Any]:
    """Values at the bounds' edges, or each of a choice."""
    plain, bounds = plain_type(kind, name), knobs_of(kind)[name].bounds
    if get_origin(plain) is Literal:
        yield from get_args(plain)
    elif plain in (bool, str):
        yield from ((True, False) if plain is bool else (("x=y",),) if is_tuple(kind, name) else ("x",))
    else:
        edges = [bounds[edge] for edge in ("least", "most") if edge in bounds]
        if plain is float:
            edges += [math.nextafter(bounds["above"], math.inf)] if "above" in bounds else []
            edges += [math.nextafter(bounds["below"], -math.inf)] if "below" in bounds else []
        yield from (((value,) for value in edges) if is_tuple(kind, name) else edges)
    if type(None) in get_args(get_type_hints(kind)[name]):
        yield None


EVERY = [(kind, f.name) for kind in KINDS for f in fields(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_no_value_of_another_type_or_beyond_the_bounds_gets_through(kind, name):
    for value in bad_values(kind, name):
        with pytest.raises(UserError, match=rf"^--{name}=.*: must be [^\n]*$"):
            kind(**KINDS[kind] | {name: value})


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_values_at_the_bounds_edges_are_taken_unless_others_forbid_them(kind, name):
    fitting = (
        {"concatenate": 1, "batch_size": 2**30, "submodule_layers": (1,), "top_k": 1} if kind is TrainConfig else {}
    )
    for value in good_values(kind, name):
        try:
            assert getattr(kind(**KINDS[kind] | fitting | {name: value}), name) in (value, "akoksal/MTMB")
        except UserError as error:  # of two knobs that don't fit together, not of this one's bounds
            assert not str(error).startswith(f"--{name}={value}: must be")


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_command_line_with_such_a_value_is_refused_in_one_line_with_code_2_before_any_work(
    kind, name, capsys, tmp_path, monkeypatch
):
    """nan, inf, negative numbers and what is no number, as they are typed."""
    monkeypatch.chdir(tmp_path)
    command = COMMAND_OF[kind]
    plain = plain_type(kind, name)
    typed = ["nan", "inf", "-inf", "-1", "1e30", "x", "[]x"] if plain in (int, float) else ["", "-1x"]
    typed = ["x"] if plain is str and is_tuple(kind, name) else typed[: 1 if plain is str else None]
    for text in typed:
        argv = [f"--{key}={value}" for key, value in (KINDS[kind] | {name: text}).items()]
        with pytest.raises(SystemExit) as ended:
            flags.run(COMMANDS, [command, *argv], "mere-ds")
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.count("\n") == 1 and f"--{name}=" in error
        assert not list(tmp_path.iterdir())


SUGGESTED = {
    "train": {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay", "learning-rat": "learning_rate",
              "num_epochs": "epochs", "layers": "submodule_layers", "fp16": "deepspeed_config"},
    "pretrain-mtmb": {"lr": "learning_rate", "max_steps": "steps", "model": "encoder"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "typed", "meant"), [(c, *pair) for c in SUGGESTED for pair in SUGGESTED[c].items()]
)
def test_an_unknown_flag_gets_the_knob_that_is_meant(command, typed, meant):
    with pytest.raises(UserError, match=rf"unknown flag .* \(did you mean --{meant}\?\)"):
        flags.parse(COMMANDS[command], [f"--{typed}=1"], command)


def test_a_launcher_s_flag_gets_the_launcher():
    with pytest.raises(
        UserError, match=r"unknown flag --gpus \(did you mean deepspeed --num_gpus=N mere_ds/train.py\?\)"
    ):
        flags.parse(COMMANDS["train"], ["--gpus=4"], "train.py")


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_suggests_one_knob_and_is_none_itself(kind):
    words = [word for known in knobs_of(kind).values() for word in known.also.split()]
    assert len(words) == len(set(words)) and not set(words) & set(knobs_of(kind))


def test_knobs_of_one_stage_decide_nothing_in_the_other():
    config = TrainConfig(**KINDS[TrainConfig])
    for name, known in knobs_of(TrainConfig).items():
        for stage in (1, 2):
            assert (name in knobs_of_stage(config, stage)) == (
                known.on_resume == "same" and known.stage in (None, stage)
            )
