"""A knob is a setting described completely by one dataclass field; this module derives everything else from the fields.

The command line, help texts, checks, the comparison on resume, the model's configuration and DeepSpeed's keys all come
from the fields, in training and pretraining alike: to add a knob, add a field (see `knob`).
"""

import inspect
import math
import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mere_ds.errors import UserError

Command = TypeVar("Command", bound=Callable[..., None])

_LIMITS = {
    "above": (operator.gt, "greater than"),
    "least": (operator.ge, "at least"),
    "below": (operator.lt, "less than"),
    "most": (operator.le, "at most"),
}
"""The bounds that a number may have. An integer without `most` is limited to 2^31 - 1, so that a product of two does
not overflow 64 bits."""


@dataclass(frozen=True)
class Knob:
    """What a field records about its knob besides name, type and default."""

    help: str
    bounds: Mapping[str, float]
    """Any of above, least, below and most; they hold for each element of a tuple."""
    stage: Literal[1, 2] | None
    """The stage that it belongs to (None: both); 2 is the stage that trains the switcher."""
    on_resume: Literal["same", "content", "free"]
    """"same": it affects the result, so a resumed run must use the same value. "content": the value may change but not
    what it refers to, which is compared separately (a folder's content, the global batch). "free": it does not affect
    the result and may change."""
    model: str | None
    """The field of the model's configuration that gets its value."""
    inherited: bool
    """Whether stage two takes that field from stage one's model and rejects any other value."""
    deepspeed: str | None
    """The equivalent key of DeepSpeed's configuration, with dots between the levels."""
    also: str
    """Other names that people try, separated by spaces; for an unknown flag of such a name this knob is suggested."""


def knob(
    help: str,
    default: Any = MISSING,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    stage: Literal[1, 2] | None = None,
    on_resume: Literal["same", "content", "free"] = "same",
    model: str | None = None,
    inherited: bool = False,
    deepspeed: str | None = None,
    also: str = "",
) -> Any:
    """A dataclass field for a knob; the arguments are those of `Knob`.

    A run that was started before the knob existed resumes with its default, which must reproduce the old behaviour.
    """
    limits = {"above": above, "least": least, "below": below, "most": most}
    bounds = {name: limit for name, limit in limits.items() if limit is not None}
    return field(
        default=default,
        metadata={"knob": Knob(help, bounds, stage, on_resume, model, inherited, deepspeed, also)},
    )


def knobs_of(kind: Any) -> dict[str, Knob]:
    """The knobs of a dataclass by name, in the order of its fields."""
    return {f.name: f.metadata["knob"] for f in fields(kind)}


@cache
def types_of(kind: Any) -> dict[str, Any]:
    """The annotated types of a dataclass' fields."""
    return get_type_hints(kind)


def defaults_of(kind: Any) -> dict[str, Any]:
    """The defaults of the knobs that affect the result and have a default."""
    values = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return {name: value for name, value in values.items() if knobs_of(kind)[name].on_resume == "same"}


def deciding(config: Any, stage: Literal[1, 2] | None = None) -> dict[str, Any]:
    """The knobs that affect the result (of a stage, if given), with their values; a resumed run must use the same."""
    return {
        name: getattr(config, name)
        for name, knob in knobs_of(config).items()
        if knob.on_resume == "same" and (stage is None or knob.stage in (None, stage))
    }


def deepspeed_keys(kind: Any) -> dict[str, str]:
    """DeepSpeed's key -> the equivalent knob."""
    return {knob.deepspeed: name for name, knob in knobs_of(kind).items() if knob.deepspeed}


def check_knobs(config: Any) -> None:
    """Raises UserError for the first knob whose value has the wrong type or is out of bounds."""
    for name, knob in knobs_of(config).items():
        value = getattr(config, name)
        if what := _wrong(value, types_of(config.__class__)[name], knob.bounds):
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise UserError(f"--{name}={shown}: {what}")


def beyond(value: float, bounds: Mapping[str, float]) -> str | None:
    """The requirement that a number violates, such as "must be greater than 0"; None if it is finite and in bounds."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, int) and "most" not in bounds and value >= 2**31:
        bounds = {**bounds, "most": 2**31 - 1}
    if all(_LIMITS[name][0](value, limit) for name, limit in bounds.items()):
        return None
    return f"must be {_in_words(bounds)}"


def takes_knobs(kind: type, **elsewhere: str) -> Callable[[Command], Command]:
    """Decorate `function(**given)` with the signature and help of a dataclass' knobs; `given` holds the flags passed.

    Parameters that the function names itself come first; a knob that it names may be passed by position. `elsewhere`
    maps further words that people try as flags to what to suggest.
    """

    def decorated(function: Command) -> Command:
        command: Any = function
        named = inspect.signature(function).parameters
        own = [p for p in named.values() if p.kind != p.VAR_KEYWORD and p.name not in knobs_of(kind)]
        command.__signature__ = inspect.Signature(
            own
            + [
                inspect.Parameter(
                    f.name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD if f.name in named else inspect.Parameter.KEYWORD_ONLY,
                    annotation=types_of(kind)[f.name],
                    default=inspect.Parameter.empty if f.default is MISSING else f.default,
                )
                for f in fields(kind)
            ]
        )
        lines = "\n".join(f"    {name}: {_help(knob)}" for name, knob in knobs_of(kind).items())
        doc = inspect.cleandoc(function.__doc__ or "")
        command.__doc__ = f"{doc}\n{'' if own else f'{chr(10)}Args:{chr(10)}'}{lines}\n"
        command.__also__ = {
            word: f"--{name}" for name, knob in knobs_of(kind).items() for word in knob.also.split()
        } | elsewhere
        return function

    return decorated


def _help(knob: Knob) -> str:
    facts = [f"stage {knob.stage} only"] if knob.stage else []
    facts += [_in_words(knob.bounds)] if knob.bounds else []
    facts += ["may change on resume"] if knob.on_resume == "free" else []
    return f"{knob.help} [{'; '.join(facts)}]" if facts else knob.help


def _in_words(bounds: Mapping[str, float]) -> str:
    return " and ".join(f"{_LIMITS[name][1]} {bounds[name]}" for name in _LIMITS if name in bounds)


def _wrong(value: Any, kind: Any, bounds: Mapping[str, float]) -> str | None:
    """The requirement that a value violates; None if it has its field's type and is in bounds."""
    if get_origin(kind) in (Union, types.UnionType):  # a type or None
        (plain,) = (k for k in get_args(kind) if k is not type(None))
        return None if value is None else _wrong(value, plain, bounds)
    if get_origin(kind) is Literal:
        return None if value in get_args(kind) else f"must be one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return f"must be a tuple of {'texts' if get_args(kind)[0] is str else 'numbers'}"
        return next(filter(None, (_wrong(number, get_args(kind)[0], bounds) for number in value)), None)
    words, accepted = _ACCEPTED[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        return f"must be {words}"
    return beyond(value, bounds) if isinstance(value, int | float) else None


_ACCEPTED: dict[type, tuple[str, type | tuple[type, ...]]] = {
    str: ("text", str),
    bool: ("true or false", bool),
    int: ("a whole number", int),
    float: ("a number", (int, float)),
}
"""By a field's type: how messages call its values, and the types accepted."""
