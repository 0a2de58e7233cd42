"""The guard in front of fire: nothing runs on a command line that isn't right."""

import signal
import subprocess
import sys
from typing import Literal

import pytest

from mere_ds import flags
from mere_ds.errors import UserError


class Recorder:
    def __init__(self):
        self.calls = []
        calls = self.calls

        def shard(
            tsv_dir: str,
            out: str,
            *,
            encoder: str = "mbert",
            mode: Literal["repair", "reject"] = "repair",
            length: int | None = None,
            rate: float = 0.5,
            layers: tuple[int, ...] = (1, 2),
            quirks: bool = True,
        ) -> None:
            """Make shards.

            Examples:
                mere-ds shard a b

            Args:
                tsv_dir: Where from.
                out: Where to.
            """
            calls.append((tsv_dir, out, encoder, mode, length, rate, layers, quirks))

        self.commands = {"shard": shard}

    def run(self, *argv):
        flags.run(self.commands, list(argv), "mere-ds")
        return self.calls


@pytest.fixture
def recorder():
    return Recorder()


@pytest.mark.parametrize(
    ("argv", "want"),
    [
        (["a", "b"], ("a", "b", "mbert", "repair", None, 0.5, (1, 2), True)),
        (["1984", "0x10"], ("1984", "0x10", "mbert", "repair", None, 0.5, (1, 2), True)),
        (["a", "--out=b", "--length", "7"], ("a", "b", "mbert", "repair", 7, 0.5, (1, 2), True)),
        (["a", "b", "--noquirks", "--layers=3,1"], ("a", "b", "mbert", "repair", None, 0.5, (3, 1), False)),
        (["a", "b", "--quirks", "no", "--rate=-1e-3"], ("a", "b", "mbert", "repair", None, -1e-3, (1, 2), False)),
        (["a", "b", "-e", "x,y", "--mode=reject"], ("a", "b", "x,y", "reject", None, 0.5, (1, 2), True)),
        (
            ["a", "b", "--encoder=--odd name", "--length=None"],
            ("a", "b", "--odd name", "repair", None, 0.5, (1, 2), True),
        ),
        (["-", "b"], ("-", "b", "mbert", "repair", None, 0.5, (1, 2), True)),
    ],
)
def test_values_arrive_as_their_types(recorder, argv, want):
    assert recorder.run("shard", *argv) == [want]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["shard", "a"], "OUT is missing"),
        (["shard", "a", "b", "c"], "one argument too many: 'c'"),
        (["shard", "a", "b", "--encodr=x"], "unknown flag --encodr (did you mean encoder?)"),
        (["shard", "a", "b", "--zzz"], "unknown flag --zzz"),
        (["shard", "a", "b", "-z"], "unknown flag --z"),
        (["shard", "a", "b", "--encoder"], "--encoder wants a value"),
        (["shard", "a", "b", "--encoder", "--length=3"], "--encoder wants a value"),
        (["shard", "a", "b", "--encoder="], "a value is wanted"),
        (["shard", "a", "b", "--length=x"], "a whole number is wanted"),
        (["shard", "a", "b", "--length=1.5"], "a whole number is wanted"),
        (["shard", "a", "b", "--rate=fast"], "a number is wanted"),
        (["shard", "a", "b", "--layers=1,x"], "a whole number is wanted"),
        (["shard", "a", "b", "--mode=drop"], "one of repair, reject is wanted"),
        (["shard", "a", "b", "--quirks=perhaps"], "true or false is wanted"),
        (["shard", "a", "b", "--length=1", "--length=2"], "given twice"),
        (["shrad"], "unknown command 'shrad' (did you mean shard?)"),
    ],
)
def test_misuse_stops_before_work_with_one_line_and_code_2(recorder, capsys, argv, says):
    with pytest.raises(SystemExit) as stop:
        recorder.run(*argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert recorder.calls == []


@pytest.mark.parametrize("argv", [["--help"], [], ["shard", "--help"], ["shard", "a", "b", "--help"], ["shard", "-h"]])
def test_help_shows_and_runs_nothing(recorder, capsys, argv):
    with pytest.raises(SystemExit) as stop:
        recorder.run(*argv)
    assert stop.value.code == 0 and recorder.calls == []
    shown = "".join(capsys.readouterr())
    assert "Make shards" in shown and ("mere-ds shard a b" in shown) == (argv[:1] == ["shard"])


def test_user_errors_of_the_command_itself_end_the_same_way(capsys):
    def fail() -> None:
        """Fail."""
        raise flags.UserError("the disk is full; free some")

    with pytest.raises(SystemExit) as stop:
        flags.run({"fail": fail}, ["fail"], "mere-ds")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "mere-ds: the disk is full; free some\n"


def test_a_list_that_is_the_only_argument_takes_all_words(capsys):
    seen = []

    def report(runs: tuple[str, ...], *, out: str) -> None:
        """Report.

        Args:
            runs: Which.
        """
        seen.append((runs, out))

    for argv in (["a", "b,c", "--out=x", "d"], ["--runs=a,b,c", "--out=x", "d"], ["a", "--out=x"]):
        flags.run({"report": report}, ["report", *argv], "mere-ds")
    assert seen == [(("a", "b", "c", "d"), "x")] * 2 + [(("a",), "x")]
    with pytest.raises(SystemExit) as ended:
        flags.run({"report": report}, ["report", "--out=x"], "mere-ds")
    assert ended.value.code == 2 and "RUNS is missing" in capsys.readouterr().err


def test_parse_gives_typed_values_of_what_was_typed():
    command = Recorder().commands["shard"]
    given = flags.parse(command, ["a", "--out=b=c", "--layers=3,4", "--noquirks", "--length", "None"], "shard")
    assert given == {"tsv_dir": "a", "out": "b=c", "layers": (3, 4), "quirks": False, "length": None}
    with pytest.raises(UserError, match="did you mean layers"):
        flags.parse(command, ["a", "b", "--layer=3"], "shard")


def ended(body: str) -> subprocess.CompletedProcess:
    """A process that does nothing but a program whose command has this body."""
    script = f"""
import atexit, sys
from mere_ds import flags
def act():
    atexit.register(print, "the end")
    print("a line without a reader's hurry", end="")
    {body}
flags.program(act, [], "act")
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("pass", 0),
        ("sys.exit(85)", 85),
        ("sys.exit()", 0),
        ("raise flags.UserError('why')", 2),
        ("raise flags.MachineError('why')", 1),
        ("raise ValueError('why')", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_a_program_ends_with_its_code_and_all_is_said(body, code):
    result = ended(body)
    assert result.returncode == code
    assert result.stdout == "a line without a reader's hurrythe end\n"
    assert ("why" in result.stderr) == ("why" in body) and result.stderr.count("Traceback") == (
        "ValueError" in body or "Keyboard" in body
    )


def test_a_program_whose_reader_has_left_ends_with_141_and_no_traceback():
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    script = "from mere_ds import flags; flags.program(lambda: print('x' * 100_000), [], 'act')"
    result = subprocess.run([sys.executable, "-c", script], stdout=reader.stdin, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (141, "")
