"""Ranks that meet, and what one line says when they can't. Each rank is a process."""

import os
import socket
import subprocess
import sys
import time

import pytest
from launching import free_port

from mere_ds.errors import UserError
from mere_ds.training.rendezvous import Place

JOIN = """
import sys
import deepspeed, torch
from mere_ds.errors import MachineError, UserError
from mere_ds.training.rendezvous import Place, join
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
print("up", flush=True)
input()
try:
    store = join("gloo", float(sys.argv[1]))
    total = torch.tensor([Place.from_environment().rank + 1.0])
    deepspeed.comm.all_reduce(total)
    store.set(f"key{total.item():.0f}", "value")
    print("joined", total.item(), store.get(f"key{total.item():.0f}"), flush=True)
    torch.distributed.destroy_process_group()
except (MachineError, UserError) as error:
    print(type(error).__name__, error, file=sys.stderr, flush=True)
"""


class Ranks:
    """Processes that join on `go`, together: how long each took to import torch doesn't matter."""

    def __init__(self) -> None:
        self.processes = []

    def start(self, timeout: float = 60, **environment) -> subprocess.Popen:
        env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
        env |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        env |= {k: str(v) for k, v in environment.items()}
        command = [sys.executable, "-c", JOIN, str(timeout)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(command, env=env, text=True, **pipes)
        self.processes.append(process)
        return process

    def place(self, rank: int, ranks: int, port: int, timeout: float = 60) -> subprocess.Popen:
        return self.start(timeout, RANK=rank, WORLD_SIZE=ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)

    def go(self) -> list[subprocess.Popen]:
        for process in self.processes:
            assert process.stdout.readline() == "up\n"
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        return self.processes


@pytest.fixture
def ranks():
    started = Ranks()
    yield started
    for process in started.processes:
        with process:
            process.kill()


def complaint(process: subprocess.Popen) -> str:
    """The one line on stderr."""
    out, err = process.communicate(timeout=60)
    assert out == "" and err.count("\n") == 1, out + err
    return err


def test_two_ranks_and_deepspeed_meet_and_share_a_store(ranks):
    port = free_port()
    for rank in (1, 0):
        ranks.place(rank, 2, port)
    assert [process.communicate(timeout=60)[0] for process in ranks.go()] == ["joined 3.0 b'value'\n"] * 2


def test_a_process_without_a_launcher_is_a_group_of_its_own(ranks):
    ranks.start()
    ranks.start()
    assert [process.communicate(timeout=60)[0] for process in ranks.go()] == ["joined 1.0 b'value'\n"] * 2


def test_missing_ranks_are_named(ranks):
    port = free_port()
    ranks.place(0, 4, port, timeout=4)
    ranks.place(2, 4, port, timeout=60)
    first, other = (complaint(process) for process in ranks.go())
    assert first == f"MachineError rank 1, rank 3 of 4 didn't come to 127.0.0.1:{port}\n"
    assert other.startswith("MachineError the ranks lost each other")


def test_an_unreachable_master_is_one_line(ranks):
    port = free_port()
    ranks.place(1, 2, port, timeout=1)
    (process,) = ranks.go()
    assert complaint(process) == f"MachineError rank 1 can't reach rank 0 at 127.0.0.1:{port}: Connection refused\n"


def test_an_unknown_master_is_told_at_once(ranks):
    ranks.start(600, RANK=1, WORLD_SIZE=2, MASTER_ADDR="no.such.host.invalid", MASTER_PORT=29500)
    (process,) = ranks.go()
    said = complaint(process)  # waits no 600 seconds
    assert "MASTER_ADDR=no.such.host.invalid" in said and "knows no such host" in said


def test_a_taken_port_is_one_line(ranks):
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        ranks.place(0, 2, port)
        (process,) = ranks.go()
        said = complaint(process)
    assert said.startswith(f"MachineError port {port} of {socket.gethostname()} is taken by another process")


def test_a_rank_that_is_there_twice_is_refused(ranks):
    """As when two runs have chosen the same port: the second must not meddle with the first."""
    port = free_port()
    for rank in (0, 1, 1):
        ranks.place(rank, 3, port)
    _, one, other = ranks.go()
    deadline = time.monotonic() + 60
    while one.poll() is None and other.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    refused, seated = (one, other) if one.poll() is not None else (other, one)
    assert f"rank 1 is at 127.0.0.1:{port} already ({socket.gethostname()}, pid {seated.pid})" in complaint(refused)
    assert seated.poll() is None


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANK": "one"}, "RANK=one: a whole number is wanted"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE=-1: a whole number"),
        ({"WORLD_SIZE": None}, "WORLD_SIZE is missing"),
        ({"RANK": "2"}, "RANK=2 is beyond WORLD_SIZE=2"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR is missing"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is missing"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000 is no port"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK=x: a whole number"),
    ],
)
def test_nonsense_in_the_environment_is_the_users(environment, says, monkeypatch):
    good = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in (good | environment).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=says):
        Place.from_environment()
