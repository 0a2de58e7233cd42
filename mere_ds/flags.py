"""Command lines that are checked before any work starts.

fire calls a function first and complains about left-over flags afterwards. `run` reads the whole command line
against the function's signature before fire sees it: an unknown flag, a missing value, a value of the wrong type or
an argument too many stops with one line and exit code 2. `--` ends the flags: what follows are arguments.
"""

import atexit
import contextlib
import difflib
import gc
import inspect
import logging
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile

import fire
from fire import decorators

from mere_ds.errors import MachineError, UserError, from_memory_error, from_os_error
from mere_ds.streams import use_utf8
from mere_ds.versions import versions

HELP_FLAGS, VERSION_FLAG = ("-h", "--help"), "--version"
END_OF_FLAGS = "--"
FIRE_HELP = ["--", "--help"]
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def program(component: Callable | dict[str, Callable], argv: list[str], name: str) -> None:
    """`run` as all that a process does; the process starts and ends seconds sooner than it would otherwise.

    Importing torch and transformers makes 700,000 objects and no garbage, for which Python would look again and again;
    at its end it would take all of them down one by one.
    """
    use_utf8()
    gc.set_threshold(10_000)
    code: int | None = None

    def end() -> None:
        if code is not None:  # not after an exception, which may end a process by a signal
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, closed
                    stream.flush()
            os._exit(code)

    atexit.register(end)  # the first to be registered is the last to be called
    signal.signal(signal.SIGTERM, _terminated)  # so that what a command has begun is removed, as after Ctrl-C
    try:
        run(component, argv, name)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)  # 1 for a text
        raise


def run(component: Callable | dict[str, Callable], argv: list[str], name: str) -> None:
    """Check `argv` against `component` (a function, or a dict of commands) and let fire call it.

    Exits with one line on stderr and code 2 for misuse (`UserError`, from here or from the command itself), code 1 for
    what the machine did (`MachineError`), code 130 after Ctrl-C.
    """
    try:
        if VERSION_FLAG in _flags_of(argv):
            return print("\n".join(f"{name} {version}" for name, version in versions().items()))
        fire.Fire(component, command=_checked(component, argv, name), name=name)
        sys.stdout.flush()
    except (UserError, MachineError) as error:
        _tell(name, error)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt as stopped:
        number = signal.SIGTERM if isinstance(stopped, _Terminated) else signal.SIGINT
        sys.stderr.write(f"\n{name}: stopped by {number.name}\n")  # a progress bar may be open
        sys.exit(128 + number)
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # no caller knew more of it than its path and reason
        known = from_os_error(error)
        _tell(name, known)
        sys.exit(2 if isinstance(known, UserError) else 1)
    except (MemoryError, RuntimeError) as error:
        if not (reduce := from_memory_error(error)):
            raise
        _tell(name, reduce)
        sys.exit(1)


def _tell(name: str, error: UserError | MachineError) -> None:
    """One line, whatever names of files and flags the message quotes."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(error))
    sys.stderr.write(f"{name}: {line}\n")  # one write: ranks share the stream


class _Terminated(KeyboardInterrupt):
    """Another process asked this one to stop."""


def _terminated(number: int, frame: types.FrameType | None) -> None:
    raise _Terminated


def parse(function: Callable, argv: list[str], name: str) -> dict[str, object]:
    """The values that a command line gives the parameters of `function`; raises UserError as `run` does for misuse."""
    parameters = inspect.signature(function).parameters
    suggested = getattr(function, "__also__", {}) | {name: f"--{name}" for name in parameters}
    given: dict[str, str | list[str]] = {}
    positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    gathers = positional[0] if len(positional) == 1 and _is_list(parameters[positional[0]]) else None
    rest, flags_end = list(argv), False
    while rest:
        word = rest.pop(0)
        if word == END_OF_FLAGS and not flags_end:
            flags_end = True
            continue
        free = [p for p in positional if p not in given]
        if len(word) > 1 and word[0] == "-" and not flags_end and not _is_number(word):
            key, value = _flag(word, rest, parameters, suggested, free, name)
        elif gathers:  # a list that is a command's only argument: RUN RUN is RUN,RUN
            given[gathers] = [*given.get(gathers, []), word]
            continue
        elif free:
            key, value = free[0], word
        else:
            raise UserError(f"one argument too many: {word!r}; see {name} --help")
        if key in given and key != gathers:
            raise UserError(f"--{key} is given twice")
        given[key] = [*given.get(key, []), value] if key == gathers else value
    values = {key: _value(parameters[key], text) for key, text in given.items()}
    for p in parameters.values():
        if p.default is p.empty and p.name not in given:
            how = p.name.upper() if p.name in positional else f"--{p.name}=..."
            raise UserError(f"{how} is missing; see {name} --help")
    return values


def _checked(component: Callable | dict[str, Callable], argv: list[str], name: str) -> list[str]:
    """The command line in one form that fire reads: `[command] --flag= ...`, every value parsed already."""
    if not isinstance(component, dict):
        return FIRE_HELP if _asks_help(argv) else _for_fire(component, argv, name)
    if not argv or argv[0] in HELP_FLAGS:
        return FIRE_HELP
    command, rest = argv[0], argv[1:]
    if command not in component:
        raise UserError(
            f"unknown command {command!r}{_did_you_mean(command, {c: c for c in component})}; see {name} --help"
        )
    if _asks_help(rest):
        return [command, *FIRE_HELP]
    return [command, *_for_fire(component[command], rest, f"{name} {command}")]


def _asks_help(argv: list[str]) -> bool:
    return any(word in HELP_FLAGS for word in _flags_of(argv))


def _flags_of(argv: list[str]) -> Iterator[str]:
    return takewhile(lambda word: word != END_OF_FLAGS, argv)


def _for_fire(function: Callable, argv: list[str], name: str) -> list[str]:
    """Flags whose texts mean nothing: what fire asks for each flag's value has it already."""
    values = parse(function, argv, name)
    decorators.SetParseFns(**{key: lambda _, value=value: value for key, value in values.items()})(function)
    return [f"--{key}=" for key in values]


def _flag(
    word: str,
    rest: list[str],
    parameters: Mapping[str, inspect.Parameter],
    suggested: Mapping[str, str],
    free: list[str],
    name: str,
) -> tuple[str, str]:
    """One flag and its value: `--x=v`, `--x v`, for switches `--x`, `--nox`; `-x` where one flag alone begins so.

    `suggested` has what to suggest for an unknown flag, `free` the arguments that are still to be given.
    """
    key, equals, value = word.lstrip("-").partition("=")
    key = key.replace("-", "_")
    if not word.startswith("--"):
        begin_so = [p for p in parameters if p[0] == key]
        key = begin_so[0] if len(begin_so) == 1 else key
    if key.startswith("no") and key[2:] in parameters and _is_switch(parameters[key[2:]]) and not equals:
        return key[2:], "False"
    if key not in parameters:
        hint = f"; if this is the {free[0].upper()}, write --{free[0]}={word!r}" if free else ""
        raise UserError(f"unknown flag --{key}{_did_you_mean(key, suggested)}{hint}; see {name} --help")
    if equals:
        return key, value
    if _is_switch(parameters[key]):
        return key, rest.pop(0) if rest and rest[0].lower() in TRUE + FALSE else "True"
    if not rest or rest[0].startswith("--"):
        raise UserError(f"--{key} needs a value: --{key}=...")
    return key, rest.pop(0)


def _did_you_mean(word: str, known: Mapping[str, str]) -> str:
    """`known` are the words that there are, or that people try, with what to suggest for each."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {known[near[0]]}?)" if near else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _kinds(parameter: inspect.Parameter) -> tuple[list, bool]:
    """The plain types that a parameter's annotation admits, and whether None is one of them."""
    annotation = parameter.annotation
    assert annotation is not parameter.empty, f"{parameter.name} has no annotation"
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = list(typing.get_args(annotation)) if union else [annotation]
    return [k for k in kinds if k is not type(None)], type(None) in kinds


def _is_switch(parameter: inspect.Parameter) -> bool:
    return _kinds(parameter)[0] == [bool]


def _is_list(parameter: inspect.Parameter) -> bool:
    return typing.get_origin(_kinds(parameter)[0][0]) is tuple


def _value(parameter: inspect.Parameter, given: str | list[str]) -> object:
    """Text, or the words of a list, as the annotated type. Raises UserError that names the flag."""
    (kind,), optional = _kinds(parameter)
    words = given if isinstance(given, list) else [given]
    try:
        if any("\udc80" <= character <= "\udcff" for word in words for character in word):
            raise ValueError("is not UTF-8")  # Python's way to keep such bytes in an argument
        # An argument says what it says; only a flag can go back to a default of None.
        if optional and parameter.kind is parameter.KEYWORD_ONLY and words[-1] in ("None", "none"):
            return None
        if _is_list(parameter):
            (element, _) = typing.get_args(kind)
            split = _paths if element is str else _numbers
            return tuple(_convert(part, element) for word in words for part in split(word))
        return _convert(words[-1], kind)
    except ValueError as error:
        shown = ",".join(words).encode(errors="backslashreplace").decode()
        raise UserError(f"--{parameter.name}={shown}: {error}") from None


def _paths(text: str) -> Iterator[str]:
    """Paths with commas between them; as many pieces as make a path that is there belong together."""
    pieces = text.split(",")
    while pieces:
        ends = (end for end in range(len(pieces), 1, -1) if os.path.exists(",".join(pieces[:end])))
        end = next(ends, 1)
        path, pieces = ",".join(pieces[:end]), pieces[end:]
        if path := path if os.path.exists(path) else path.strip():
            yield path


def _numbers(text: str) -> list[str]:
    return [part.strip() for part in text.strip("()[]").split(",") if part.strip()]


def _convert(text: str, kind: type) -> object:
    """Raises ValueError that says what the text must be."""
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError("must be true or false")
        return text.lower() in TRUE
    if typing.get_origin(kind) is typing.Literal:
        if text not in typing.get_args(kind):
            raise ValueError(f"must be one of {', '.join(typing.get_args(kind))}")
        return text
    if kind is str:
        if not text:
            raise ValueError("must not be empty")
        return text
    names = {int: "a whole number", float: "a number"}
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be {names[kind]}") from None
