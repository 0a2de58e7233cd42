"""Ranks that meet, and what one line says when they can't. Each rank is a process."""

import socket
import time
from functools import partial

import pytest
from joining import join_and_name_programs, join_and_share
from launching import free_port
from ranks import Forked

from mere_ds.errors import UserError
from mere_ds.ranks.rendezvous import RankInfo

pytestmark = pytest.mark.slow


@pytest.fixture
def start():
    """start(timeout, NAME=...): a process that joins."""
    started = []

    def start(timeout: float = 60, **environment) -> Forked:
        started.append(Forked(partial(join_and_share, timeout), environment))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def place(start):
    """place(rank, of how many, port, timeout): such a process at its place on this machine."""

    def place(rank: int, ranks: int, port: int, timeout: float = 60) -> Forked:
        return start(timeout, RANK=rank, WORLD_SIZE=ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)

    return place


def said(process: Forked) -> str:
    """Its one line."""
    text, _ = process.communicate(timeout=60)
    assert text.count("\n") == 1, text
    return text


def test_two_ranks_and_deepspeed_meet_and_share_a_store(place):
    port = free_port()
    assert [said(process) for process in [place(1, 2, port), place(0, 2, port)]] == ["joined 3.0 b'value'\n"] * 2


def test_a_process_without_a_launcher_is_a_group_of_its_own(start):
    assert [said(process) for process in [start(), start()]] == ["joined 1.0 b'value'\n"] * 2


def test_joining_compiles_nothing_and_asks_for_no_compiler():
    process = Forked(partial(join_and_name_programs, 60), {})
    assert said(process) == "started []\n"


def test_missing_ranks_are_named(place):
    port = free_port()
    other, first = place(2, 4, port, timeout=60), place(0, 4, port, timeout=4)
    assert said(first) == f"MachineError rank 1, rank 3 of 4 did not join at 127.0.0.1:{port} in time\n"
    assert said(other).startswith("MachineError ranks lost their connection")


def test_a_rank_of_a_group_of_another_size_takes_nobodys_place(place):
    port = free_port()
    zero, stranger = place(0, 3, port), place(1, 2, port, timeout=5)
    assert said(stranger) == f"MachineError rank 1 timed out waiting for all 2 ranks to join at 127.0.0.1:{port}\n"
    assert [said(process) for process in (place(1, 3, port), place(2, 3, port), zero)] == ["joined 6.0 b'value'\n"] * 3


def test_an_unreachable_master_is_one_line(place):
    port = free_port()
    process = place(1, 2, port, timeout=1)
    assert said(process) == f"MachineError rank 1 can't connect to rank 0 at 127.0.0.1:{port}: Connection refused\n"


def test_an_unknown_master_is_told_at_once(start):
    line = said(start(600, RANK=1, WORLD_SIZE=2, MASTER_ADDR="no.such.host.invalid", MASTER_PORT=29500))
    assert "MASTER_ADDR=no.such.host.invalid" in line and "unknown host" in line, "it waits no 600 seconds"


def test_a_taken_port_is_one_line(place):
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        line = said(place(0, 2, port))
    assert line.startswith(f"MachineError port {port} on {socket.gethostname()} is in use by another process")


def test_a_rank_that_is_there_twice_is_refused(place):
    """As when two runs have chosen the same port: the second must not meddle with the first."""
    port = free_port()
    _, one, other = (place(rank, 3, port) for rank in (0, 1, 1))
    deadline = time.monotonic() + 60
    while one.returncode is None and other.returncode is None and time.monotonic() < deadline:
        time.sleep(0.05)
    refused, seated = (one, other) if one.returncode is not None else (other, one)
    assert f"rank 1 has already joined at 127.0.0.1:{port} ({socket.gethostname()}, pid {seated.pid})" in said(refused)
    assert seated.returncode is None


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANK": "one"}, "RANK=one: must be a whole number"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE=-1: must be a whole number"),
        ({"WORLD_SIZE": None}, "WORLD_SIZE is not set"),
        ({"RANK": "2"}, "RANK=2: must be less than WORLD_SIZE=2"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000: must be between 1 and 65535"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK=x: must be a whole number"),
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
        RankInfo.from_environment()
