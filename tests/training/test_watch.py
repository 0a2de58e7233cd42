"""A rank that dies, hangs or fails ends all ranks, and one line names it. Each rank here is a process."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from mere_ds.errors import MachineError
from mere_ds.ranks.watch import Watch

pytestmark = pytest.mark.slow

SOON = 20  # seconds in which everything here must be over


class Group:
    """Processes under one watch; the main thread of each waits for a line on stdin, deaf to all else."""

    def __init__(self, folder: Path, hosts: str, timeout: float, absent: int = 0) -> None:
        script = Path(__file__).with_name("watched_rank.py")
        self.folder = folder
        self.processes = [
            subprocess.Popen(
                [sys.executable, script, folder, str(rank), str(len(hosts)), str(timeout), host],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for rank, host in enumerate(hosts[: len(hosts) - absent])
        ]  # fmt: skip
        if not absent:
            assert {p.stdout.readline() for p in self.processes} == {"ready\n"}

    def tell(self, rank: int, line: str) -> None:
        self.processes[rank].stdin.write(line + "\n")
        self.processes[rank].stdin.flush()

    def name(self, rank: int, host: str = "a") -> str:
        return f"rank {rank} ({host}, pid {self.processes[rank].pid})"

    def ends(self, *ranks: int) -> tuple[list[int], str]:
        """Exit codes of these ranks (default: all), once they have ended by themselves, and what they said together."""
        chosen = [self.processes[rank] for rank in ranks] or self.processes
        codes = [p.wait(SOON) for p in chosen]
        return codes, "".join(p.stderr.read() for p in chosen)

    def leave(self) -> None:
        for process in self.processes:
            process.stdin.close()


@pytest.fixture
def group(tmp_path):
    groups = []

    def start(hosts: str = "aaa", timeout: float = 60, absent: int = 0) -> Group:
        groups.append(Group(tmp_path, hosts, timeout, absent))
        return groups[-1]

    yield start
    for process in groups[0].processes:
        with process:
            process.kill()


def test_a_rank_0_that_ends_before_it_tells_where_it_listens_is_one_line():
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = dist.TCPStore("127.0.0.1", store.port, is_master=False)
    del store
    with pytest.raises(MachineError, match="^rank 0 at node1 exited before the run started: .+$"):
        Watch(client, 1, 2, "node1", timeout=5)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_rank_ends_all_and_is_named_once(group, victim):
    g = group()
    g.processes[victim].kill()
    codes, said = g.ends()
    assert [c for rank, c in enumerate(codes) if rank != victim] == [1, 1]
    assert said == f"{g.name(victim)} died\n"


@pytest.mark.parametrize("victim", [0, 1])
def test_a_frozen_rank_ends_all_within_the_timeout_and_itself_once_it_thaws(group, victim):
    g = group(timeout=3)
    g.processes[victim].send_signal(signal.SIGSTOP)
    started = time.monotonic()
    codes, said = g.ends(*{0, 1, 2} - {victim})
    assert codes == [1, 1] and time.monotonic() - started < 3 + 0.5 + 1
    assert said == f"{g.name(victim)} hangs: no heartbeat for 2 s\n"
    g.processes[victim].send_signal(signal.SIGCONT)
    assert g.ends(victim) == ([1], "")


def test_a_group_that_was_frozen_together_goes_on(group):
    g = group(timeout=1)
    for process in g.processes:
        process.send_signal(signal.SIGSTOP)
    time.sleep(2)  # more than any of them may be silent
    for process in g.processes:
        process.send_signal(signal.SIGCONT)
    g.tell(0, "print(watch.verdict(1.5))")
    assert g.processes[0].stdout.readline() == "None\n"
    g.leave()
    assert g.ends() == ([0, 0, 0], "")


@pytest.mark.parametrize("rank", [0, 2])
def test_a_failing_rank_gives_its_reason_and_exit_code(group, rank):
    g = group()
    g.tell(rank, "watch.fail('no space', 7)")
    assert g.ends() == ([7, 7, 7], f"{g.name(rank)}: no space\n")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("error", "code"), [("UserError", 2), ("MachineError", 1)])
def test_an_error_in_one_rank_is_one_line_of_all(group, rank, error, code):
    g = group()
    g.tell(rank, f"raise {error}('a shard is missing')")
    assert g.ends() == ([code] * 3, f"{g.name(rank)}: a shard is missing\n")


def test_a_defect_keeps_its_traceback(group):
    g = group()
    g.tell(2, "1 / 0")
    codes, said = g.ends()
    assert codes == [1, 1, 1]
    assert said.count("Traceback") == 1 and said.count(f"{g.name(2)}: ZeroDivisionError") == 1


def test_the_echo_of_a_lost_rank_is_silent(group):
    """What a broken collective raises in the survivors would bury the one line that matters."""
    g = group()
    g.processes[1].kill()
    g.tell(2, "raise RuntimeError('connection closed by peer')")
    codes, said = g.ends()
    assert codes == [1, -9, 1] and said == f"{g.name(1)} died\n"


def test_leaving_is_no_loss(group):
    g = group()
    g.tell(2, "watch.leave(); watch.leave(); sys.exit(85)")
    assert g.ends(2) == ([85], "")
    g.tell(0, "print(watch.verdict(0.5))")
    assert g.processes[0].stdout.readline() == "None\n"
    g.tell(0, "sys.exit(85)")
    assert g.ends(0) == ([85], "")
    g.tell(1, "print(watch.verdict(0.5))")
    assert g.processes[1].stdout.readline() == "None\n"
    g.leave()
    assert g.ends(1) == ([0], "")


@pytest.mark.parametrize("killed", [{0}, {0, 1}])
def test_another_machine_speaks_when_that_of_rank_0_is_lost(group, killed):
    g = group("aabb")
    for rank in killed:
        g.processes[rank].send_signal(signal.SIGSTOP)
    for rank in killed:
        g.processes[rank].kill()
    survivors = [rank for rank in range(4) if rank not in killed]
    said = {rank: g.ends(rank) for rank in survivors}
    assert said == {rank: ([1], f"{g.name(0)} died\n" if rank == 2 else "") for rank in survivors}


def test_a_rank_that_never_comes_is_named(group):
    g = group(timeout=3, absent=1)
    while not (g.folder / "watch").exists():
        time.sleep(0.01)
    port, token, _ = json.loads((g.folder / "watch").read_text())
    with socket.create_connection(("127.0.0.1", port)) as impostor:
        impostor.sendall(json.dumps(["hello", token[::-1], 2, "elsewhere", 1]).encode() + b"\n")
        assert g.ends() == ([1, 1], "rank 2 never connected\n")


def test_strangers_and_garbage_are_ignored(group):
    g = group()
    port, token, _ = json.loads((g.folder / "watch").read_text())
    fakes = [
        ["hello", "0" * len(token), 1, "evil", 1],
        ["hello", token, 1, "evil", 1],
        ["fail", "x", 1],
        ["end", "x", 1],
    ]
    lines = [json.dumps(fake).encode() + b"\n" for fake in fakes]
    said = (*lines, b"".join(lines), b"GET / HTTP/1.1\r\n\r\n", b"[" * 5000 + b"\n", b"half a li", b"")
    strangers = [socket.create_connection(("127.0.0.1", port), SOON) for _ in (*said, "endless")]
    for stranger, words in zip(strangers, (*said, b"x" * 20_000), strict=True):
        stranger.sendall(words)
    with contextlib.suppress(ConnectionError):
        assert strangers[-1].recv(1) == b"", "who sends no line end is shown the door"
    for stranger in strangers[::2]:
        stranger.close()
    g.tell(1, "for c in connections: c.send(b'gar\\xffbage' + b'\\n' + b'[1, 2]' + b'\\n' + b'7' + b'\\n')")
    g.tell(0, "print(watch.verdict(1.0))")
    assert g.processes[0].stdout.readline() == "None\n"
    g.processes[2].kill()
    codes, said = g.ends()
    assert codes == [1, 1, -9] and said == f"{g.name(2)} died\n"
    for stranger in strangers:
        stranger.close()


def test_a_group_of_one_watches_nobody():
    from mere_ds.ranks.watch import Watch

    with pytest.raises(ZeroDivisionError), Watch(None, 0, 1, "nowhere.invalid", 1) as watch:
        watch.fail("nobody hears it")
        assert watch.verdict() is None
        1 / 0  # noqa: B018
