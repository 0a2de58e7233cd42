"""Rendezvous of the ranks: reads and checks the launcher's environment; each failure is reported in one line."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import deepspeed
import torch
import torch.distributed as dist

from mere_ds.errors import MachineError, UserError


@dataclass(frozen=True)
class RankInfo:
    """This process's rank as set by the launcher; a single rank without a launcher."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0

    @classmethod
    def from_environment(cls) -> "RankInfo":
        """Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; raises UserError if they are invalid."""
        if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
            return cls()
        place = cls(
            rank=_number("RANK"),
            ranks=_number("WORLD_SIZE"),
            local_rank=_number("LOCAL_RANK") if "LOCAL_RANK" in os.environ else 0,
            address=_variable("MASTER_ADDR"),
            port=_number("MASTER_PORT"),
        )
        if place.rank >= place.ranks:
            raise UserError(f"RANK={place.rank}: must be less than WORLD_SIZE={place.ranks}")
        if not 0 < place.port < 65536:
            raise UserError(f"MASTER_PORT={place.port}: must be between 1 and 65535")
        return place


def join(backend: str, timeout: float) -> dist.Store:
    """Join the process group that the environment describes, for DeepSpeed too; returns a store shared by all ranks.

    Waits up to `timeout` seconds for the other ranks, which is also the timeout of the group's collectives. Raises
    UserError if the environment is invalid, MachineError if the port is in use or rank 0 or others can't be reached.
    """
    place = RankInfo.from_environment()
    limit = timedelta(seconds=timeout)
    try:
        store = _open_rendezvous(place, timeout)
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("group", store),
            rank=place.rank,
            world_size=place.ranks,
            timeout=limit,
            device_id=torch.device("cuda", place.local_rank) if backend == "nccl" and place.ranks > 1 else None,
        )
    except dist.DistError as error:
        first_line = str(error).partition("\n")[0]
        raise MachineError(f"ranks lost their connection at {place.address}:{place.port}: {first_line}") from None
    # On a CPU, DeepSpeed would otherwise probe the compiler (a second) and compile a shared-memory all-reduce (a
    # minute). Nothing else reads this table.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(dist_backend=backend, timeout=limit, verbose=False)
    return dist.PrefixStore("run", store)


def _open_rendezvous(place: RankInfo, timeout: float) -> dist.Store:
    """A store that all ranks have connected to."""
    if place.port == 0:  # a single rank: no port is opened, so nobody else can connect
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}  # what DeepSpeed reads
        return dist.HashStore()
    deadline = time.monotonic() + timeout
    _resolve(place.address)
    agent_has_it = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun
    store: dist.Store
    if place.rank == 0 and not agent_has_it:
        store = _open_store(place, timeout)
    else:
        _wait_for_rank_0(place, deadline)
        store = dist.TCPStore(
            place.address, place.port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout)
        )
    # a run with another world size on the same port is a different run
    start = f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)} of {place.ranks} ranks"
    store = dist.PrefixStore(start, store)
    _register_rank(store, place, deadline)
    return store


def _resolve(address: str) -> None:
    try:
        socket.getaddrinfo(address, None)
    except OSError as error:
        kind = MachineError if getattr(error, "errno", None) == socket.EAI_AGAIN else UserError
        raise kind(f"MASTER_ADDR={address}: unknown host on {socket.gethostname()} ({error.strerror})") from None


def _open_store(place: RankInfo, timeout: float) -> dist.TCPStore:
    try:
        return dist.TCPStore(
            place.address, place.port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout)
        )
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise MachineError(
            f"port {place.port} on {socket.gethostname()} is in use by another process: stop that process or choose "
            "another port (deepspeed --master_port, MASTER_PORT)"
        ) from None


def _wait_for_rank_0(place: RankInfo, deadline: float) -> None:
    """Wait until rank 0 is listening; torch would print a page of errors for each attempt."""
    last = ""

    def answers() -> bool:
        nonlocal last
        try:
            socket.create_connection((place.address, place.port), max(1.0, deadline - time.monotonic())).close()
        except OSError as error:
            last = error.strerror or str(error)
            return False
        return True

    if not _wait_until(answers, deadline):
        raise MachineError(f"rank {place.rank} can't connect to rank 0 at {place.address}:{place.port}: {last}")


def _register_rank(store: dist.Store, place: RankInfo, deadline: float) -> None:
    """Wait until every rank has registered, each exactly once."""
    me = f"{socket.gethostname()}, pid {os.getpid()}"
    holder = store.compare_set(f"rank {place.rank}", "", me).decode()
    meeting = f"{place.address}:{place.port}"
    if holder != me:
        raise MachineError(
            f"rank {place.rank} has already joined at {meeting} ({holder}): another run uses this port, or two "
            "processes have the same RANK"
        )
    everyone = [f"rank {rank}" for rank in range(place.ranks)]
    if place.rank:
        if not _wait_until(lambda: store.check(["complete"]), deadline):
            raise MachineError(f"rank {place.rank} timed out waiting for all {place.ranks} ranks to join at {meeting}")
    elif _wait_until(lambda: store.check(everyone), deadline):
        store.set("complete", "")
    else:
        missing = [name for name in everyone if not store.check([name])]
        raise MachineError(f"{', '.join(missing)} of {place.ranks} did not join at {meeting} in time")


def _wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    pause = 0.01
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(0.5, 1.5 * pause)
    return True


def _variable(name: str) -> str:
    if not os.environ.get(name):
        raise UserError(f"{name} is not set in the environment: the launcher must set it for every rank")
    return os.environ[name]


def _number(name: str) -> int:
    text = _variable(name)
    if not text.isdecimal():
        raise UserError(f"{name}={text}: must be a whole number")
    return int(text)
