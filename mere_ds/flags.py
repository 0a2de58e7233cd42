"""Command lines that are checked before any work starts.

fire calls the function first and complains about unused flags afterwards. `run` checks the whole command line against
the function's signature before fire sees it: an unknown flag, a missing value, a value of the wrong type or an extra
argument ends the program with one line and exit code 2. `--` ends the flags: everything after it is an argument.
"""

import atexit
import contextlib
import difflib
import functools
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
from mere_ds.optional_libraries import from_import_error
from mere_ds.streams import use_utf8
from mere_ds.transformers_contents import keep_contents
from mere_ds.versions import versions

HELP_FLAGS, VERSION_FLAG = ("-h", "--help"), "--version"
END_OF_FLAGS = "--"
FIRE_HELP = ["--", "--help"]
_LONGEST_TYPE = 24  # characters of a type in help; fire would cut a longer one off
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def program(component: Callable | dict[str, Callable], argv: list[str], name: str) -> None:
    """Call `run` as a process's main program, with settings that make the process start and exit seconds faster.

    Importing torch and transformers creates 700,000 objects and no garbage; by default Python would search them for
    garbage again and again, and free them one by one at exit.
    """
    use_utf8()
    keep_contents()
    gc.set_threshold(10_000)
    code: int | None = None

    def end() -> None:
        if code is not None:  # not after an exception, which may end a process by a signal
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
                    stream.flush()
            os._exit(code)

    atexit.register(end)  # registered first, so called last
    signal.signal(signal.SIGTERM, _terminated)  # so that unfinished files are removed, as after Ctrl-C
    try:
        run(component, argv, name)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)  # 1 for a message
        raise


def run(component: Callable | dict[str, Callable], argv: list[str], name: str) -> None:
    """Check `argv` against `component` (a function, or a dict of commands) and let fire call it.

    Exits with one line on stderr and code 2 for misuse (`UserError`, from here or from the command itself) and for an
    extra that is not installed, code 1 for a fault of the machine (`MachineError`), code 130 after Ctrl-C.
    """
    try:
        if VERSION_FLAG in _flags_of(argv):
            return print("\n".join(f"{name} {version}" for name, version in versions().items()))
        command = _checked(component, argv, name)
        if command[-len(FIRE_HELP) :] == FIRE_HELP:
            component = _for_help(component) if callable(component) else {n: _for_help(f) for n, f in component.items()}
        fire.Fire(component, command=command, name=name)
        sys.stdout.flush()
    except (UserError, MachineError) as error:
        _print_error(name, error)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt as stopped:
        number = signal.SIGTERM if isinstance(stopped, _Terminated) else signal.SIGINT
        how_to_go_on = f": {stopped}" if stopped.args else ""
        sys.stderr.write(f"\n{name}: stopped by {number.name}{how_to_go_on}\n")  # a progress bar may be open
        sys.exit(128 + number)
    except BrokenPipeError:  # the reader of our output (head, less) has exited
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # no caller could add to its path and reason
        known = from_os_error(error)
        _print_error(name, known)
        sys.exit(2 if isinstance(known, UserError) else 1)
    except ModuleNotFoundError as error:
        if not (missing := from_import_error(error)):
            raise
        _print_error(name, missing)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not (out_of_memory := from_memory_error(error)):
            raise
        _print_error(name, out_of_memory)
        sys.exit(1)


def _print_error(name: str, error: UserError | MachineError) -> None:
    """Print one line, even if the message quotes file names or flags with line breaks in them."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(error))
    sys.stderr.write(f"{name}: {line}\n")  # one write: ranks share the stream


class _Terminated(KeyboardInterrupt):
    """Another process asked this one to stop."""


def _terminated(number: int, frame: types.FrameType | None) -> None:
    raise _Terminated


def parse(function: Callable, argv: list[str], name: str) -> dict[str, object]:
    """The values of `function`'s parameters on a command line, by name. Raises UserError for misuse."""
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
        elif gathers:  # the command's only argument is a list: RUN RUN is the same as RUN,RUN
            given[gathers] = [*given.get(gathers, []), word]
            continue
        elif free:
            key, value = free[0], word
        else:
            raise UserError(f"unexpected argument {word!r}; see {name} --help")
        if key in given and key != gathers:
            raise UserError(f"--{key} is given twice: pass it once")
        given[key] = [*given.get(key, []), value] if key == gathers else value
    values = {key: _value(parameters[key], text) for key, text in given.items()}
    for p in parameters.values():
        if p.default is p.empty and p.name not in given:
            how = p.name.upper() if p.name in positional else f"--{p.name}=..."
            raise UserError(f"{how} is missing; see {name} --help")
    return values


def _checked(component: Callable | dict[str, Callable], argv: list[str], name: str) -> list[str]:
    """The command line in the form that is passed to fire: `[command] --flag= ...`, with all values already parsed."""
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


def helped_by(complete: Callable[[str], str]) -> Callable[[Callable], Callable]:
    """Decorate a command whose docstring `complete` makes whole, only when help is asked for."""

    def mark(function: Callable) -> Callable:
        function.__helped_by__ = complete  # type: ignore[attr-defined]
        return function

    return mark


def _for_help(function: Callable) -> Callable:
    """A stand-in for a function of whose parameters fire shows the types by name."""
    shown: typing.Any = functools.wraps(function)(lambda: None)
    if complete := getattr(function, "__helped_by__", None):
        shown.__doc__ = complete(inspect.getdoc(function) or "")
    signature = inspect.signature(function)
    named = [p.replace(annotation=type(_type_name(p), (), {})) for p in signature.parameters.values()]
    shown.__signature__ = signature.replace(parameters=named)
    return shown


def _type_name(parameter: inspect.Parameter) -> str:
    """What a flag takes, in words for help; fire adds that it may be None."""
    (kind,), _ = _kinds(parameter)
    if typing.get_origin(kind) is typing.Literal:
        names = "|".join(typing.get_args(kind))
        return names if len(names) <= _LONGEST_TYPE else "str"
    if _is_list(parameter):
        return f"{typing.get_args(kind)[0].__name__},..."
    return kind.__name__


def _flags_of(argv: list[str]) -> Iterator[str]:
    return takewhile(lambda word: word != END_OF_FLAGS, argv)


def _for_fire(function: Callable, argv: list[str], name: str) -> list[str]:
    """Flags without text: the function that fire calls to parse a flag's value returns the value parsed here."""
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
    """One flag and its value: `--x=v`, `--x v`, for switches `--x`, `--nox`; `-x` if only one flag begins with x.

    `suggested` maps words that people type to the flag to suggest; `free` are the arguments that are still missing.
    """
    key, equals, value = word.lstrip("-").partition("=")
    key = key.replace("-", "_")
    if not word.startswith("--"):
        begin_so = [p for p in parameters if p[0] == key]
        key = begin_so[0] if len(begin_so) == 1 else key
    if key.startswith("no") and key[2:] in parameters and _is_switch(parameters[key[2:]]) and not equals:
        return key[2:], "False"
    if key not in parameters:
        hint = f"; to pass it as {free[0].upper()}, write --{free[0]}={word!r}" if free else ""
        raise UserError(f"unknown flag --{key}{_did_you_mean(key, suggested)}{hint}; see {name} --help")
    if equals:
        return key, value
    if _is_switch(parameters[key]):
        return key, rest.pop(0) if rest and rest[0].lower() in TRUE + FALSE else "True"
    if not rest or rest[0].startswith("--"):
        raise UserError(f"--{key} needs a value: --{key}=...")
    return key, rest.pop(0)


def _did_you_mean(word: str, known: Mapping[str, str]) -> str:
    """`known` maps existing words, and words that people type instead, to what to suggest for them."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {known[near[0]]}?)" if near else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _kinds(parameter: inspect.Parameter) -> tuple[list, bool]:
    """The types that a parameter's annotation allows besides None, and whether it allows None."""
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
            raise ValueError("is not UTF-8")  # how Python keeps undecodable bytes in an argument
        # A positional argument is taken literally; only a flag can be reset to a default of None.
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
    """Paths separated by commas; an existing path that contains commas stays whole."""
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
    """`text` as a `kind`. Raises ValueError that says what the text must be."""
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
