"""A web server for a shards folder that can be told to misbehave."""

import contextlib
import threading
import time
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `folder` at `address`; `faults[name]` are functions that answer the next requests for a file instead."""

    def __init__(self, folder):
        self.folder, self.asked, self.faults = folder, Counter(), {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._http.server_port}/shards/"

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, server: Server, *args):
        self.owner = server
        super().__init__(*args, directory=str(server.folder.parent))

    def do_GET(self):
        name = self.path.removeprefix("/shards/")
        self.owner.asked[name] += 1
        if faults := self.owner.faults.get(name):
            return faults.pop(0)(self)
        return super().do_GET()

    def log_message(self, *_):
        pass


def answer(content: bytes, length: int | None, handler: _Handler) -> None:
    """A file's content, with another length or none told before it."""
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(content)


def drop(handler: _Handler) -> None:
    handler.close_connection = True


def drip(handler: _Handler) -> None:
    """A proper answer, a byte at a time and without end."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):  # whoever asked has left
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.01)


def drip_headers(handler: _Handler) -> None:
    """The same, but the headers never end."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.01)


def fail(code: int, handler: _Handler) -> None:
    handler.send_error(code)


def redirect(target: str, handler: _Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", target)
    handler.end_headers()
