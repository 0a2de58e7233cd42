"""Monitors the ranks of a run: if one dies or hangs, all ranks exit and the failed one is named.

Collectives alone don't do that: under NCCL the survivors of a dead rank wait silently. Here rank 0 holds a TCP
connection to every other rank, and both ends send regular heartbeats. If a connection closes without a "bye", the
process died; if it carries no heartbeat for too long, the process hangs. Rank 0 informs the others.

The protocol is JSON lines `[kind, ...]`: `hello token rank host pid`, `beat`, `bye`, `fail reason code` (to rank 0),
`speaker rank` (from it) and `end verdict code`.
"""

import contextlib
import json
import logging
import os
import secrets
import selectors
import socket
import sys
import threading
import time
import traceback
from typing import Protocol

from mere_ds.errors import MachineError, UserError

log = logging.getLogger("mere_ds")

GRACE = 3.0
"""Seconds that a process has to exit by itself once the group has failed."""
_LONGEST = 8192  # bytes per line; an unknown client must not be able to fill our memory
_UNANSWERED = 20_000  # ms without an acknowledgement from the peer's kernel, after which its machine counts as lost


class Store(Protocol):
    """The methods of a torch.distributed store that `Watch` needs."""

    def set(self, key: str, value: str, /) -> None: ...

    def get(self, key: str, /) -> bytes: ...


class Watch:
    """One rank's side of the monitoring; does nothing if there is only one rank.

    `store` is a torch.distributed store that all ranks share, `address` the host of rank 0. A rank may be silent for
    four fifths of `timeout` seconds, so a hanging rank is named before any collective times out after `timeout`. Once
    the group has failed, one process logs the reason and each exits within `GRACE` seconds, whatever its main thread
    is doing.

    As a context manager it says "bye" at the end; an exception inside ends all ranks, with exit code 2 for a UserError,
    else 1. Raises MachineError if rank 0 can't be reached.
    """

    def __init__(self, store: Store, rank: int, ranks: int, address: str, timeout: float) -> None:
        self._rank = rank
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._lock, self._known = threading.Lock(), threading.Event()
        self._verdict: str | None = None
        self._code = 1
        self._left = ranks == 1
        self._speaks = rank in (0, 1)  # rank 1 speaks for rank 0 until rank 0 picks another
        self._period = min(1.0, timeout / 20)
        self._patience = round(0.8 * timeout / self._period)
        self._beats = 0
        self._unseen = set(range(1, ranks)) if rank == 0 else set()
        self._hosts: dict[int, str] = {}
        self._peers: set[_Peer] = set()
        if ranks == 1:
            return
        self._selector = selectors.DefaultSelector()
        if rank == 0:
            self._listen(store, ranks)
        else:
            self._connect(store, address, timeout)
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def leave(self) -> None:
        """Say "bye": this rank ends normally and no longer reacts if others end."""
        with self._lock:
            if self._left or self._verdict:
                return
            self._left = True
        self._broadcast("bye")

    def fail(self, reason: str, code: int = 1) -> None:
        """Tell all ranks that this one failed because of `reason`; they end too, with the exit code `code`."""
        if self._left:
            return
        if self._rank == 0:
            self._end(f"{_name(0, self._host, self._pid)}: {reason}", code, speaks=True)
        else:
            self._broadcast("fail", reason[: _LONGEST // 8], code)

    def verdict(self, wait: float = 5.0) -> str | None:
        """Why the group failed, None if it didn't; waits up to `wait` seconds for that message."""
        if not self._left:
            self._known.wait(wait)
        return self._verdict

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None or isinstance(error, SystemExit):
            self.leave()
        if self._left:
            return
        expected = isinstance(error, UserError | MachineError)
        # A RuntimeError is usually a collective that failed because another rank ended: the reason will arrive soon.
        echo = isinstance(error, RuntimeError) and not expected
        if not self.verdict(GRACE if echo else 0):
            if not expected:
                sys.stderr.write("".join(traceback.format_exception(error)))  # in one write: ranks share it
            self.fail(str(error) if expected else repr(error), 2 if isinstance(error, UserError) else 1)
            if not self.verdict(GRACE):
                return  # rank 0 doesn't answer: let the exception propagate
        self._known.wait(GRACE)
        logging.shutdown()
        sys.stdout.flush()
        os._exit(self._code)  # the destructors of a broken process group may hang

    def _listen(self, store: Store, ranks: int) -> None:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._listener = socket.create_server(("", 0), family=family, dualstack_ipv6=both, backlog=ranks)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._token = secrets.token_hex(16)
        port = self._listener.getsockname()[1]
        store.set("watch", json.dumps([port, self._token, _name(0, self._host, self._pid)]))

    def _connect(self, store: Store, address: str, timeout: float) -> None:
        try:
            port, token, name = json.loads(store.get("watch"))
        except RuntimeError as error:  # torch's DistError
            first_line = str(error).partition("\n")[0]
            raise MachineError(f"rank 0 at {address} exited before the run started: {first_line}") from None
        try:
            connection = socket.create_connection((address, port), timeout)
        except OSError as error:
            raise MachineError(f"can't connect to {name} at {address}:{port}: {error.strerror or error}") from None
        peer = self._add(connection)
        peer.name = name
        peer.send("hello", token, self._rank, self._host, self._pid)

    def _run(self) -> None:
        next_beat = time.monotonic() + self._period
        while not self._left:
            for key, _ in self._selector.select(max(0.0, next_beat - time.monotonic())):
                if key.data:
                    self._read(key.data)
                else:
                    with contextlib.suppress(OSError):  # gone again
                        self._add(self._listener.accept()[0])
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self._period
                self._beat()

    def _beat(self) -> None:
        """Silence is counted in our own heartbeats, so that a pause of this process isn't blamed on the others."""
        self._beats += 1
        self._broadcast("beat")
        for peer in list(self._peers):
            peer.silent += 1
            if peer.silent > self._patience and peer.name:
                seconds = self._patience * self._period
                self._end(f"{peer.name} hangs: no heartbeat for {seconds:.0f} s", 1, self._speaks)
            elif peer.silent > self._patience:
                self._drop(peer)
        if self._unseen and self._beats > self._patience:
            ranks = ", ".join(map(str, sorted(self._unseen)))
            self._end(f"rank {ranks} never connected", 1, self._speaks)

    def _read(self, peer: "_Peer") -> None:
        try:
            messages = peer.receive()
        except (ConnectionError, EOFError):
            self._lose(peer, "died")
        except OSError:
            self._lose(peer, "is lost: its machine does not respond")
        else:
            for message in messages:
                self._handle(peer, message)

    def _handle(self, peer: "_Peer", message: object) -> None:
        match message:
            case ["hello", self._token, int(rank), str(host), int(pid)] if rank in self._unseen:
                self._welcome(peer, rank, host, pid)
            case _ if not peer.name:
                return  # it hasn't sent a valid hello
            case ["bye"]:
                self._drop(peer)
            case ["fail", str(reason), int(code)]:
                self._end(f"{peer.name}: {reason}", code, speaks=True)
            case ["end", str(verdict), int(code)]:
                self._end(verdict, code, speaks=False)
            case ["speaker", int(rank)]:
                self._speaks = rank == self._rank
        peer.silent = 0

    def _welcome(self, peer: "_Peer", rank: int, host: str, pid: int) -> None:
        peer.name = _name(rank, host, pid)
        self._unseen.remove(rank)
        self._hosts[rank] = host
        if not self._unseen:  # if this whole machine fails, a rank on another one must report it
            elsewhere = [other for other, its_host in self._hosts.items() if its_host != self._host]
            self._broadcast("speaker", min(elsewhere, default=1))

    def _lose(self, peer: "_Peer", how: str) -> None:
        self._drop(peer)
        if peer.name:
            self._end(f"{peer.name} {how}", 1, self._speaks)

    def _end(self, verdict: str, code: int, speaks: bool) -> None:
        """On the first call: store the verdict, forward it, log it if `speaks`, and make sure this process exits."""
        with self._lock:
            if self._left or self._verdict:
                return
            self._verdict, self._code = verdict, code
        self._broadcast("end", verdict, code)
        end = threading.Timer(GRACE, os._exit, (code,))
        end.daemon = True
        end.start()
        if speaks:
            log.error("%s", verdict)
        self._known.set()

    def _broadcast(self, *message: object) -> None:
        for peer in list(self._peers):
            if peer.name:
                peer.send(*message)

    def _add(self, connection: socket.socket) -> "_Peer":
        peer = _Peer(connection)
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)
        return peer

    def _drop(self, peer: "_Peer") -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()


class _Peer:
    """The other end of a connection; it has no name until it sends a valid hello."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.name, self.silent, self._rest = connection, "", 0, b""
        connection.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED)

    def send(self, *message: object) -> None:
        with contextlib.suppress(OSError):  # a peer that doesn't read is detected by its missing heartbeats
            self.connection.send(json.dumps(message).encode() + b"\n")

    def receive(self) -> list:
        """The messages received so far; raises OSError or EOFError once the connection is lost."""
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:  # spurious wake-up
            return []
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            raise EOFError
        return [_parse(line) for line in lines]


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _name(rank: int, host: str, pid: int) -> str:
    return f"rank {rank} ({host}, pid {pid})"
