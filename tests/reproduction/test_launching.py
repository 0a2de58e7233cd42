"""Programs that are started: what they print, how they end, and what a signal does to them."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mere_ds.errors import UserError
from mere_ds.reproduction import launching

WAITS = "echo ready; while :; do sleep 0.02; done"


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "log"


def run(script: str, log: Path) -> tuple[int, list[str]]:
    with launching.programs() as programs:
        return programs.run(["bash", "-c", script], log)


def signalled(number: int, log: Path, times: int = 1) -> threading.Thread:
    """A thread that sends this process a signal once the program is ready, and again once it says `again`."""

    def send() -> None:
        for word in ("ready", "again")[:times]:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not (log.exists() and f"\n{word}\n" in log.read_text()):
                time.sleep(0.01)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_all_that_a_program_prints_is_in_the_log_behind_what_was_there(log):
    log.write_text("before\n")
    code, last = run("seq 100; echo warning >&2; exit 3", log)
    assert code == 3 and last == [*map(str, range(87, 101)), "warning"]
    before, command, *said = log.read_text().splitlines()
    assert before == "before" and command.startswith("$ bash -c") and said == [*map(str, range(1, 101)), "warning"]


def test_a_program_has_ended_when_its_children_have(log):
    """A launcher may be gone before its ranks."""
    code, last = run("(sleep 0.2; echo late) & echo early", log)
    assert code == 0 and last == ["early", "late"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_goes_to_the_program_that_may_save_and_leave(log, number):
    thread = signalled(number, log)
    with launching.programs() as programs:
        code, last = programs.run(["bash", "-c", f"trap 'echo saved; exit 85' TERM; {WAITS}"], log)
        assert programs.stop_requested
    thread.join()
    assert code == 85 and last[-1] == "saved"


def test_a_second_signal_kills(log):
    thread = signalled(signal.SIGTERM, log, times=2)
    code, _ = run(f"trap 'echo again' TERM; {WAITS}", log)
    thread.join()
    assert code == -signal.SIGKILL


def test_handlers_are_put_back(log):
    before = signal.getsignal(signal.SIGTERM)
    with launching.programs():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_that_is_not_there(log):
    with launching.programs() as programs, pytest.raises(UserError, match="no-such-program can't be started"):
        programs.run(["no-such-program"], log)


def test_commands(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program, number, port, script = launching.training_command(None, 4)
    assert Path(program).name == "deepspeed" and number == "--num_gpus=4" and port.startswith("--master_port=")
    assert script.endswith("mere_ds/train.py") and Path(script).is_file()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert not [word for word in launching.training_command(None, 2) if "num_gpus" in word], "it would take 0 and 1"
    assert launching.training_command("torchrun --nproc-per-node=2 --", None) == [
        "torchrun", "--nproc-per-node=2", "--", script,
    ]  # fmt: skip
    assert launching.evaluation_command(Path("runs/a"), (2, 3))[-3:] == ["evaluate", "runs/a", "--k=2,3"]
    assert launching.evaluation_command(Path("runs/a"), ())[-2:] == ["evaluate", "runs/a"]
