"""One rank for test_watch.py: `python watched_rank.py FOLDER RANK RANKS TIMEOUT HOST`, then runs each line of stdin."""

import socket
import sys
import time
from pathlib import Path

from mere_ds.errors import MachineError, UserError  # noqa: F401 (for the lines of stdin)
from mere_ds.ranks import watch as watching


class FolderStore:
    """The two calls of a torch.distributed store that a Watch needs, without torch's two seconds of import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def set(self, key: str, value: str) -> None:
        (self.folder / "part").write_text(value)
        (self.folder / "part").rename(self.folder / key)

    def get(self, key: str) -> bytes:
        deadline = time.monotonic() + 30
        while not (self.folder / key).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return (self.folder / key).read_bytes()


def main() -> None:
    folder, rank, ranks, timeout, host = sys.argv[1:]
    socket.gethostname = lambda: host
    connect, connections = socket.create_connection, []  # these are for the lines of stdin
    socket.create_connection = lambda *given: connections.append(connect(*given)) or connections[-1]
    watching.GRACE = 0.5
    with watching.Watch(FolderStore(Path(folder)), int(rank), int(ranks), "127.0.0.1", float(timeout)) as watch:
        if rank == "0":
            deadline = time.monotonic() + 30
            while watch._unseen and time.monotonic() < deadline:
                time.sleep(0.01)
        print("ready", flush=True)
        for line in sys.stdin:
            exec(line)
            print("done", flush=True)


if __name__ == "__main__":
    main()
