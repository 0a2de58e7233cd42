"""Command lines: every flag of every command with odd values, unknown flags, words too many and too few."""

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import replace

from mere_ds.cli import COMMANDS
from tests.hostile import corpora, uses
from tests.hostile.cases import Case, Use

HUGE = "99999999999999999999"
NUMBERS = ("nan", "inf", "-1", "0", "", "x", "1e400", HUGE, "0.5", "None", "1,2")
TEXTS = ("", " ", "no/such", "ds.json/below", "a,b", "[x]", "\udcff", "x" * 5000, "--", "a\nb", "http://")
SWITCHES = ("x", "", "None", "2", "[]")
CHOICES = ("bogus", "", "None", "MERE", "1,2")
LISTS = ("", ",", "1,,2", "x", "-1,0", "nan", "()", HUGE)

BASE: dict[str, Use] = {
    "inspect": Use("inspect", ("inspect", "corpus"), ("corpus",)),
    "shard": corpora.SHARD,
    "pretrain-mtmb": corpora.PRETRAIN,
    "synthesize": Use("synthesize", ("synthesize", "out", "--sentences=30", "--languages=de,ko"), ("ds.json",)),
    "train": replace(uses.TRAIN, argv=uses.ONE_STAGE),
    "evaluate": uses.EVALUATE,
    "compare": uses.COMPARE,
    "report": uses.REPORT,
    "reproduce": Use(
        "reproduce", ("reproduce", "--dry_run", "--table=2", "--shards=shards", "--out=paper"), ("shards", "ds.json")
    ),
    "extract": uses.EXTRACT,
    "export": uses.EXPORT,
}
"""A good line of each command but `download`, which would ask a server."""

ENDLESS = {
    *(("synthesize", name, HUGE) for name in ("sentences", "at_least")),
    *(("pretrain-mtmb", name, HUGE) for name in ("steps", "epochs", "batch_size")),
    *(("pretrain-mtmb", "encoder", text) for text in TEXTS),
    *(("shard", "encoder", text) for text in TEXTS),
    *(("train", "encoder_weights", text) for text in TEXTS),
    *(("reproduce", "mtmb", text) for text in TEXTS),
}
"""What may well be meant and takes forever, and names that would be asked of the model hub."""

STRAY = (("--no_such_flag=1",), ("--no_such_flag",), ("-",), ("---",), ("--",), ("=",), ("--=x",), ("",), ("-x",),
         ("---1",), ("a", "b", "c", "d"), ("--help", "--x"), ("--no_such\nflag",), ("\udcff",))  # fmt: skip
ALONE = ((), ("no-such-command",), ("",), ("--version",), ("-",), ("--", "x"), ("shard",), ("train",), 
         ("extract", "run"), ("download",), ("download", "a", "b"), ("download", "out", "--x=1"), 
         ("download", "ds.json/below"))  # fmt: skip


def cases() -> Iterator[Case]:
    for command, base in BASE.items():
        base = replace(base, creates=True)
        for parameter in inspect.signature(COMMANDS[command]).parameters.values():
            for value in _values(parameter):
                if (command, parameter.name, value) not in ENDLESS:
                    argv = _with(base.argv, command, parameter, value)
                    yield _case(f"{command} --{parameter.name}={value[:40]!r}", replace(base, argv=argv))
        for words in STRAY:
            yield _case(f"{command} and {words!r}", replace(base, argv=(*base.argv, *words)))
        yield _case(f"{command} twice", replace(base, argv=(*base.argv, base.argv[-1])))
        yield _case(f"{command} one word less", replace(base, argv=base.argv[:-1]))
    for argv in ALONE:
        yield _case(f"alone {argv!r}", Use("mere-ds", argv, ("ds.json",)))


def good(command: str) -> Case:
    return _case(command, replace(BASE[command], creates=True))


def _case(name: str, use: Use) -> Case:
    return Case("lines", name, replace(use, name="line"), same=False)


def _values(parameter: inspect.Parameter) -> tuple[str, ...]:
    annotation = parameter.annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    if annotation is bool:
        return SWITCHES
    if annotation in (int, float):
        return NUMBERS
    if typing.get_origin(annotation) is typing.Literal:
        return CHOICES
    if typing.get_origin(annotation) is tuple:
        return LISTS if typing.get_args(annotation)[0] is int else TEXTS
    return TEXTS


def _with(argv: tuple[str, ...], command: str, parameter: inspect.Parameter, value: str) -> tuple[str, ...]:
    """The line with this value in place of the flag's own, if it has one."""
    rest = [word for word in argv[1:] if word.partition("=")[0] != f"--{parameter.name}"]
    positional = [
        p.name for p in inspect.signature(COMMANDS[command]).parameters.values() if p.kind is not p.KEYWORD_ONLY
    ]
    if parameter.name in positional:
        places = [n for n, word in enumerate(rest) if not word.startswith("--")]
        if positional.index(parameter.name) < len(places):
            del rest[places[positional.index(parameter.name)]]
        if len(positional) > 1 or len(places) > 1:  # by name, what is left keeps its own
            others = [name for name in positional if name != parameter.name]
            words = [word for word in rest if not word.startswith("--")]
            rest = [word for word in rest if word.startswith("--")]
            if len(positional) > 1:
                rest += [f"--{name}={word}" for name, word in zip(others, words, strict=False)]
    return (command, *rest, f"--{parameter.name}={value}")
