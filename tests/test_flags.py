"""The guard in front of fire: nothing runs on a command line that isn't right."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Literal

import numpy as np
import pytest
import torch

import mere_ds
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
        (["shard", "a", "b", "c"], "unexpected argument 'c'"),
        (["shard", "a", "b", "--encodr=x"], "unknown flag --encodr (did you mean --encoder?)"),
        (["shard", "a", "b", "--zzz"], "unknown flag --zzz"),
        (["shard", "a", "b", "-z"], "unknown flag --z"),
        (["shard", "a", "b", "--encoder"], "--encoder needs a value"),
        (["shard", "a", "b", "--encoder", "--length=3"], "--encoder needs a value"),
        (["shard", "a", "b", "--encoder="], "must not be empty"),
        (["shard", "a", "b", "--length=x"], "must be a whole number"),
        (["shard", "a", "b", "--length=1.5"], "must be a whole number"),
        (["shard", "a", "b", "--rate=fast"], "must be a number"),
        (["shard", "a", "b", "--layers=1,x"], "must be a whole number"),
        (["shard", "a", "b", "--mode=drop"], "must be one of repair, reject"),
        (["shard", "a", "b", "--quirks=perhaps"], "must be true or false"),
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


def test_help_names_types_as_people_write_them(recorder, capsys):
    with pytest.raises(SystemExit):
        recorder.run("shard", "--help")
    shown = "".join(capsys.readouterr())
    types = [line.split("Type: ")[1] for line in shown.splitlines() if "Type: " in line]
    assert types == ["str", "str", "str", "repair|reject", "Optional[int]", "float", "int,...", "bool"]
    assert recorder.run("shard", "a", "b", "--rate=0.25")[0][5] == 0.25, "help leaves the command as it is"


def test_user_errors_of_the_command_itself_end_the_same_way(capsys):
    def fail() -> None:
        """Fail."""
        raise flags.UserError("the disk is full; free some")

    with pytest.raises(SystemExit) as stop:
        flags.run({"fail": fail}, ["fail"], "mere-ds")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "mere-ds: the disk is full; free some\n"


MOST = 1 << 50
"""More bytes than any machine has."""


def out_of_gpu_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")


@pytest.mark.parametrize(
    ("act", "shown"),
    [
        (lambda: bytearray(MOST << 10), "act: out of memory: free memory"),
        (lambda: np.empty(MOST), "act: out of memory (could not allocate 8.00 PiB): "),
        (lambda: torch.empty(MOST), f"act: out of memory (could not allocate {4 * MOST} bytes): "),
        (out_of_gpu_memory, "act: out of memory (could not allocate 2.00 GiB): "),
    ],
)
def test_memory_that_runs_out_is_one_line(capsys, act, shown):
    with pytest.raises(SystemExit) as stop:
        flags.run(act, [], "act")
    said = capsys.readouterr().err
    assert stop.value.code == 1 and said.startswith(shown) and said.count("\n") == 1
    assert "--batch_size" in said and "reduce_bucket_size" in said


@pytest.mark.parametrize("act", [lambda: torch.ones(2, 3) @ torch.ones(2, 3), lambda: int("out of memory")])
def test_any_other_error_keeps_its_traceback(act):
    with pytest.raises((RuntimeError, ValueError), match="shapes cannot be multiplied|invalid literal"):
        flags.run(act, [], "act")


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


def test_arguments_after_two_dashes_and_the_text_none_are_taken_as_they_stand():
    def extract(run: str, text: str | None = None, *, lang: str, file: str | None = None) -> None:
        pass

    def given(*argv):
        return flags.parse(extract, ["a", *argv], "extract")

    for text in ("-5 Grad in Kiel.", "--help", "--lang=fr", "- Anna", "--", "-h"):
        assert given("--lang=no", "--", text) == {"run": "a", "lang": "no", "text": text}
        assert given("--lang=no", f"--text={text}") == {"run": "a", "lang": "no", "text": text}
    for text in ("None", "none", "no", "True", "[1, 2]", "(a)", "{'x': 1}", "1e3", "-7", "-"):
        assert given(text, "--lang=None") == {"run": "a", "text": text, "lang": "None"}
    assert given("--lang=de", "--file=None") == {"run": "a", "lang": "de", "file": None}


def test_a_text_that_looks_like_a_flag_is_refused_with_the_way_to_write_it(capsys):
    def extract(run: str, text: str | None = None, *, lang: str) -> None:
        raise AssertionError

    for argv in (["--Anna wohnt in Kiel."], ["-Anna wohnt in Kiel."]):
        with pytest.raises(SystemExit) as ended:
            flags.run({"extract": extract}, ["extract", "a", "--lang=de", *argv], "mere-ds")
        error = capsys.readouterr().err
        assert ended.value.code == 2 and "--text=" in error and error.count("\n") == 1


def test_a_path_is_one_path_and_a_list_of_paths_keeps_those_that_are_there(tmp_path, monkeypatch):
    def compare(run_a: tuple[str, ...], run_b: tuple[str, ...], *, out: str | None = None) -> None:
        pass

    def report(runs: tuple[str, ...]) -> None:
        pass

    monkeypatch.chdir(tmp_path)
    for name in ("[a]", "(b)", "c,1", " d", "c,1,e,2", "x", "y"):
        (tmp_path / name).mkdir()
    seen = [
        flags.parse(compare, argv, "")["run_a"] for argv in (["[a],(b)", "x"], ["c,1, d", "x"], ["x,c,1,e,2,y", "x"])
    ]
    assert seen == [("[a]", "(b)"), ("c,1", " d"), ("x", "c,1,e,2", "y")]
    assert flags.parse(report, ["c", "1", "[a]", "x, y,"], "") == {"runs": ("c", "1", "[a]", "x", "y")}
    assert flags.parse(compare, ["x", "y", "--out=[c, d]"], "")["out"] == "[c, d]"


def test_bytes_that_are_not_utf8_are_refused_before_work(recorder, capsys):
    with pytest.raises(SystemExit) as ended:
        recorder.run("shard", "a\udcff", "b")
    assert ended.value.code == 2 and not recorder.calls
    assert "is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--version"], ["shard", "--version"]])
def test_version_names_all_that_results_depend_on(recorder, capsys, argv):
    recorder.run(*argv)
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert shown == {
        "mere_ds": mere_ds.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "deepspeed", "transformers")},
    }
    assert recorder.calls == []


def test_everything_is_utf8_whatever_the_locale(tmp_path):
    script = """
import sys
from mere_ds import flags
def act(text: str, *, out: str) -> None:
    open(out, "a").write(text)
    print(text, open(out).read())
    print(text, file=sys.stderr)
flags.program(act, sys.argv[1:], "act")
"""
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    path = tmp_path / "größer"
    result = subprocess.run([sys.executable, "-c", script, "Köln 서울", f"--out={path}"], capture_output=True, env=env)
    assert result.stdout.decode("utf-8") == "Köln 서울 Köln 서울\n" and result.stderr.decode("utf-8") == "Köln 서울\n"
    assert path.read_text(encoding="utf-8") == "Köln 서울"


def test_parse_gives_typed_values_of_what_was_typed():
    command = Recorder().commands["shard"]
    given = flags.parse(command, ["a", "--out=b=c", "--layers=3,4", "--noquirks", "--length", "None"], "shard")
    assert given == {"tsv_dir": "a", "out": "b=c", "layers": (3, 4), "quirks": False, "length": None}
    with pytest.raises(UserError, match="did you mean --layers"):
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
        ("raise KeyboardInterrupt", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_a_program_ends_with_its_code_and_all_is_said(body, code):
    result = ended(body)
    assert result.returncode == code
    assert result.stdout == "a line without a reader's hurrythe end\n"
    assert ("why" in result.stderr) == ("why" in body)
    assert result.stderr.count("Traceback") == ("ValueError" in body)
    assert ("act: stopped by SIG" in result.stderr) == (code > 128)


def test_a_program_whose_reader_has_left_ends_with_141_and_no_traceback():
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    script = "from mere_ds import flags; flags.program(lambda: print('x' * 100_000), [], 'act')"
    result = subprocess.run([sys.executable, "-c", script], stdout=reader.stdin, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (141, "")
