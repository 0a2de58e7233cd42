"""One writer at a time, whatever happens to the others; holders and takers are real processes where it matters."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mere_ds import lease as leasing
from mere_ds.errors import MachineError
from mere_ds.lease import WriterLease

BEAT = 0.2
PATIENCE = 1.0
OTHER = """
import sys
from mere_ds.errors import MachineError
from mere_ds import lease as leasing
leasing.BEAT = float(sys.argv[2])
for line in sys.stdin:
    try:
        exec(line)
        print("done", flush=True)
    except MachineError as error:
        print(error, flush=True)
"""


class Other:
    """Another process; `do` has it run a line and returns what came of it."""

    def __init__(self, path) -> None:
        command = [sys.executable, "-c", OTHER, path, str(BEAT)]
        env = os.environ | {"SLURM_JOB_ID": "77"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def start(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def do(self, line: str) -> str:
        self.start(line)
        return self.process.stdout.readline().strip()

    def start_taking(self, patience: float = PATIENCE) -> None:
        self.start(f"lease = leasing.WriterLease.take(sys.argv[1], patience={patience})")


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(leasing, "BEAT", BEAT)
    return tmp_path / "writer.json"


@pytest.fixture
def others(path):
    started = []

    def start(count: int) -> list[Other]:
        started.extend(Other(path) for _ in range(count))
        return started

    yield start
    for other in started:
        with other.process:
            other.process.kill()


def token(path) -> str:
    return json.loads(path.read_bytes())["token"]


def record(**facts) -> bytes:
    """A lease file as a process like this one would leave it, except for these facts."""
    with tempfile.TemporaryDirectory() as folder:
        lease = WriterLease.take(path := Path(folder, "writer.json"))
        left = json.loads(path.read_bytes())
        lease.release()
    return json.dumps(left | {"token": "old", "beats": 7} | facts).encode()


def seconds_to_take(path, patience: float = PATIENCE) -> float:
    started = time.monotonic()
    WriterLease.take(path, patience).release()
    return time.monotonic() - started


def test_a_living_holder_is_named_and_left_alone(path, others):
    (holder,) = others(1)
    assert holder.do(f"lease = leasing.WriterLease.take(sys.argv[1], {PATIENCE})") == "done"
    before = token(path)
    with pytest.raises(MachineError, match=rf"process {holder.process.pid} on .*\(job 77\) is writing.*scancel 77"):
        WriterLease.take(path, patience=60)
    assert token(path) == before and holder.do("lease.check()") == "done"


def test_a_released_lease_is_free_at_once(path):
    first = WriterLease.take(path, 60)
    first.check()
    first.release()
    assert os.listdir(path.parent) == []
    assert seconds_to_take(path, 60) < 10


def test_a_killed_holder_is_followed_at_once(path, others):
    (holder,) = others(1)
    holder.do("lease = leasing.WriterLease.take(sys.argv[1])")
    holder.process.kill()
    os.waitid(os.P_PID, holder.process.pid, os.WEXITED | os.WNOWAIT)  # dead, though not buried
    assert seconds_to_take(path, 60) < 10
    holder.process.wait()


def test_a_number_that_another_process_has_now_is_no_holder(path):
    path.write_bytes(record(started=1))
    assert seconds_to_take(path, 60) < 10


@pytest.mark.parametrize(
    "found",
    [
        record(host="elsewhere", pid=2**22 + 1),
        record(boot="another", pid=2**22 + 1),
        record(pid_namespace=1, pid=2**22 + 1),
        record(pid=os.getpid()),
        record()[:20],
        b"",
        b"\xff[]",
    ],
)
def test_who_may_be_alive_is_watched_before_it_is_followed(path, found):
    path.write_bytes(found)
    assert PATIENCE <= seconds_to_take(path) < 10


def test_a_frozen_holder_loses_the_lease_and_spoils_nothing(path, others):
    (holder,) = others(1)
    holder.do("lease = leasing.WriterLease.take(sys.argv[1])")
    holder.process.send_signal(signal.SIGSTOP)
    lease = WriterLease.take(path, PATIENCE)
    mine = token(path)
    holder.process.send_signal(signal.SIGCONT)
    assert f"process {os.getpid()} on" in (said := holder.do("lease.check()")) and "took over" in said
    assert holder.do("lease.release()") == "done" and token(path) == mine
    lease.check()
    lease.release()


FREEZE_IN_THE_NEXT_WRITE = """
def freeze(*write, pwrite=os.pwrite):
    os.pwrite = pwrite
    os.kill(os.getpid(), signal.SIGSTOP)
    return pwrite(*write)
os.pwrite = freeze
"""


def test_a_holder_that_is_frozen_just_before_its_write_cannot_write_over_its_successor(path, others):
    (holder,) = others(1)
    holder.do("lease = leasing.WriterLease.take(sys.argv[1])")
    holder.do(f"import os, signal; exec({FREEZE_IN_THE_NEXT_WRITE!r})")
    os.waitid(os.P_PID, holder.process.pid, os.WSTOPPED | os.WNOWAIT)
    lease = WriterLease.take(path, PATIENCE)
    mine = token(path)
    holder.process.send_signal(signal.SIGCONT)
    assert holder.do("lease.release()") == "done" and token(path) == mine, "it has written what it was about to"
    lease.check()
    lease.release()


def test_of_many_who_take_over_at_once_one_keeps_it(path, others):
    path.write_bytes(record(host="elsewhere"))
    takers = others(4)
    for taker in takers:
        assert taker.do("pass") == "done"  # up and running
    for taker in takers:
        taker.start_taking()
    said = [taker.process.stdout.readline().strip() for taker in takers]
    assert said.count("done") == 1, said
    refused = [line for line in said if line != "done"]  # by whoever held it then, which need not be the last one
    assert all(any(f"process {t.process.pid} on" in line for t in takers) for line in refused), said
    assert takers[said.index("done")].do("lease.check()") == "done"


def test_many_who_follow_a_dead_holder_at_once(path, others):
    path.write_bytes(record(started=1))
    takers = others(4)
    for taker in takers:
        assert taker.do("pass") == "done"
    for taker in takers:
        taker.start_taking()
    said = [taker.process.stdout.readline().strip() for taker in takers]
    assert said.count("done") == 1, said


def test_the_lease_lives_as_long_as_its_file(path):
    lease = WriterLease.take(path)
    path.unlink()
    with pytest.raises(MachineError, match="another process took over"):
        lease.check()
    lease.release()


def test_a_folder_that_cannot_be_written_is_one_line(path):
    path.parent.joinpath("file").touch()
    with pytest.raises(MachineError, match="Not a directory"):
        WriterLease.take(path.parent / "file" / "writer.json")
