"""Command lines that are checked before any work starts.

fire calls a function first and complains about left-over flags afterwards. `run` reads the whole command line
against the function's signature before fire sees it: an unknown flag, a missing value, a value of the wrong type or
an argument too many stops with one line and exit code 2.
"""

import atexit
import contextlib
import difflib
import gc
import inspect
import logging
import os
import sys
import types
import typing
from collections.abc import Callable

import fire
from fire import decorators

from mere_ds.errors import MachineError, UserError, from_os_error

HELP_FLAGS = ("-h", "--help")
FIRE_HELP = ["--", "--help"]
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def program(component: Callable | dict[str, Callable], argv: list[str], name: str) -> None:
    """`run` as all that a process does; the process starts and ends seconds sooner than it would otherwise.

    Importing torch and transformers makes 700,000 objects and no garbage, for which Python would look again and again;
    at its end it would take all of them down one by one.
    """
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
    try:
        run(component, argv, name)
        code = 0
    except SystemExit as left:
        code = left.code or 0
        raise


def run(component: Callable | dict[str, Callable], argv: list[str], name: str) -> None:
    """Check `argv` against `component` (a function, or a dict of commands) and let fire call it.

    Exits with one line on stderr and code 2 for misuse (`UserError`, from here or from the command itself), code 1 for
    what the machine did (`MachineError`).
    """
    try:
        fire.Fire(component, command=_checked(component, argv, name), name=name)
        sys.stdout.flush()
    except (UserError, MachineError) as error:
        sys.stderr.write(f"{name}: {error}\n")  # one write: ranks share the stream
        sys.exit(2 if isinstance(error, UserError) else 1)
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # no caller knew more of it than its path and reason
        told = from_os_error(error)
        sys.stderr.write(f"{name}: {told}\n")
        sys.exit(2 if isinstance(told, UserError) else 1)


def parse(function: Callable, argv: list[str], name: str) -> dict[str, object]:
    """The values that a command line gives the parameters of `function`; raises UserError as `run` does for misuse."""
    parameters = inspect.signature(function).parameters
    pairs = (word.removeprefix("--").partition("=") for word in _canonical(function, argv, name))
    return {key: _parser(parameters[key])(text) for key, _, text in pairs}


def _checked(component: Callable | dict[str, Callable], argv: list[str], name: str) -> list[str]:
    """The command line in one canonical form: `[command] --flag=value ...`, every value already known to parse."""
    if not isinstance(component, dict):
        return FIRE_HELP if _asks_help(argv) else _canonical(component, argv, name)
    if not argv or argv[0] in HELP_FLAGS:
        return FIRE_HELP
    command, rest = argv[0], argv[1:]
    if command not in component:
        raise UserError(f"unknown command {command!r}{_did_you_mean(command, component)}; see {name} --help")
    if _asks_help(rest):
        return [command, *FIRE_HELP]
    return [command, *_canonical(component[command], rest, f"{name} {command}")]


def _asks_help(argv: list[str]) -> bool:
    return any(a in HELP_FLAGS for a in argv)


def _canonical(function: Callable, argv: list[str], name: str) -> list[str]:
    parameters = inspect.signature(function).parameters
    decorators.SetParseFns(**{p.name: _parser(p) for p in parameters.values()})(function)
    given: dict[str, str] = {}
    positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    gathers = len(positional) == 1 and typing.get_origin(parameters[positional[0]].annotation) is tuple
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if len(word) > 1 and word[0] == "-" and not _is_number(word):
            key, value = _flag(word, rest, parameters, name)
        elif gathers:  # a list that is a command's only argument: RUN RUN is RUN,RUN
            key, value = positional[0], ",".join(filter(None, (given.pop(positional[0], None), word)))
        else:
            free = [p for p in positional if p not in given]
            if not free:
                raise UserError(f"one argument too many: {word!r}; see {name} --help")
            key, value = free[0], word
        if key in given:
            raise UserError(f"--{key} is given twice")
        try:
            _parser(parameters[key])(value)
        except ValueError as error:
            raise UserError(f"--{key}={value}: {error}") from None
        given[key] = value
    for p in parameters.values():
        if p.default is p.empty and p.name not in given:
            how = p.name.upper() if p.name in positional else f"--{p.name}=..."
            raise UserError(f"{how} is missing; see {name} --help")
    return [f"--{key}={value}" for key, value in given.items()]


def _flag(word: str, rest: list[str], parameters: typing.Mapping, name: str) -> tuple[str, str]:
    """One flag and its value: `--x=v`, `--x v`, for switches `--x`, `--nox`; `-x` where one flag alone begins so."""
    key, equals, value = word.lstrip("-").partition("=")
    key = key.replace("-", "_")
    if not word.startswith("--"):
        begin_so = [p for p in parameters if p[0] == key]
        key = begin_so[0] if len(begin_so) == 1 else key
    if key.startswith("no") and key[2:] in parameters and _is_switch(parameters[key[2:]]) and not equals:
        return key[2:], "False"
    if key not in parameters:
        raise UserError(f"unknown flag --{key}{_did_you_mean(key, parameters)}; see {name} --help")
    if equals:
        return key, value
    if _is_switch(parameters[key]):
        return key, rest.pop(0) if rest and rest[0].lower() in TRUE + FALSE else "True"
    if not rest or (rest[0].startswith("--") and len(rest[0]) > 2):
        raise UserError(f"--{key} wants a value: --{key}=...")
    return key, rest.pop(0)


def _did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


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


def _parser(parameter: inspect.Parameter) -> Callable[[str], object]:
    """How to turn a flag's text into the annotated type; raises ValueError that says what is wanted."""
    (kind,), optional = _kinds(parameter)

    def parse(text: str) -> object:
        if optional and text in ("None", "none"):
            return None
        return _convert(text, kind)

    return parse


def _convert(text: str, kind: type) -> object:
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError("true or false is wanted")
        return text.lower() in TRUE
    if typing.get_origin(kind) is typing.Literal:
        if text not in typing.get_args(kind):
            raise ValueError(f"one of {', '.join(typing.get_args(kind))} is wanted")
        return text
    if typing.get_origin(kind) is tuple:  # tuple[int, ...]: a list with commas
        return tuple(_convert(part.strip(), typing.get_args(kind)[0]) for part in text.strip("()[]").split(",") if part)
    if kind is str:
        if not text:
            raise ValueError("a value is wanted")
        return text
    names = {int: "a whole number", float: "a number"}
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{names[kind]} is wanted") from None
