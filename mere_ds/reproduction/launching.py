"""Starts the plan's programs: chooses the launcher, logs their output and forwards signals."""

import contextlib
import io
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import mere_ds
from mere_ds.errors import UserError

PACKAGE = Path(mere_ds.__file__).parent
RANKS_ON_A_CPU = 2
_LAST_LINES, _TAIL = 15, 8192


def ranks_here() -> tuple[int, bool]:
    """The default number of ranks on this machine, and whether each has a GPU."""
    import torch

    gpus = torch.cuda.device_count()
    return (gpus, True) if gpus else (RANKS_ON_A_CPU, False)


def training_command(launcher: str | None, ranks: int | None) -> list[str]:
    """`launcher` and train.py; by default DeepSpeed's launcher with `ranks` ranks and a free port."""
    if launcher is None:
        # given a number, it would ignore CUDA_VISIBLE_DEVICES
        number = [] if os.environ.get("CUDA_VISIBLE_DEVICES") else [f"--num_gpus={ranks}"]
        words = [_program("deepspeed"), *number, f"--master_port={_free_port()}"]
    else:
        words = shlex.split(launcher)
    return [*words, str(PACKAGE / "train.py")]


def evaluation_command(run: Path, ks: Sequence[int]) -> list[str]:
    """The command that scores a run as it was trained, or with each of `ks`."""
    how = [f"--k={','.join(map(str, ks))}"] if ks else []
    return [sys.executable, "-c", "from mere_ds.cli import main; main()", "evaluate", str(run), *how]


def _program(name: str) -> str:
    """The program beside this Python, else the one in PATH. Raises UserError if there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if not found:
        raise UserError(
            f"{name} is neither installed beside {sys.executable} nor in PATH: install it, or pass another --launcher"
        )
    return found


def _free_port() -> int:
    """A free port, since several jobs may share a node."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Programs:
    """Runs programs one after another; created by `programs`, which forwards signals to the running one."""

    def __init__(self) -> None:
        self.stop_requested = False
        self._running: subprocess.Popen | None = None

    def run(self, command: list[str], log: Path) -> tuple[int, list[str]]:
        """Run `command` and append its output to `log`; returns its exit code and last lines.

        It has ended once its output is closed by all processes, as a launcher may exit before its ranks. Raises
        UserError for a program that can't be started.
        """
        tail = b""
        with log.open("ab", buffering=0) as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    env=_environment(), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise UserError(f"{command[0]} can't be started: {error.strerror}") from None
            self._running = process
            with process:
                output = process.stdout
                assert isinstance(output, io.BufferedReader)  # the pipe
                while block := output.read1(_TAIL):
                    file.write(block)
                    tail = (tail + block)[-_TAIL:]
            self._running = None
        return process.returncode, tail.decode(errors="replace").splitlines()[-_LAST_LINES:]

    def stop(self, number: int, _: FrameType | None) -> None:
        """The first signal sends TERM, on which ranks save and exit; the second one kills them."""
        if self._running:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(self._running.pid, signal.SIGKILL if self.stop_requested else signal.SIGTERM)
        self.stop_requested = True


@contextlib.contextmanager
def programs() -> Iterator[Programs]:
    """A context in which INT, TERM and USR1 stop the running program instead of this process."""
    ours = Programs()
    before = {number: signal.signal(number, ours.stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield ours
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment() -> dict[str, str]:
    """Our environment; without a GPU it also tells DeepSpeed to use the CPU."""
    return ({} if ranks_here()[1] else {"DS_ACCELERATOR": "cpu"}) | os.environ
