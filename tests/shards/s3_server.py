"""moto's S3 on this machine, which can be told to misbehave. Its libraries take a second to import: not where tests are
collected."""

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

BUCKET = "corpora"
LOGIN = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "geheim", "AWS_DEFAULT_REGION": "us-east-1"}


class S3:
    """Has the objects of `folder` at `address`; `faults[name]` answer the next GETs of an object instead."""

    def __init__(self, folder):
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.asked: Counter[str] = Counter()
        """GETs by object."""
        self.most = 0
        """Bytes of the longest range asked for."""
        self.faults: dict[str, list[Callable]] = {}
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._http = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        url = f"http://127.0.0.1:{self._http.server_port}"
        self.environment = {**LOGIN, "AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true"}
        self.address = f"s3://{BUCKET}/de/shards/"
        self._folder = folder
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request

    def upload(self) -> None:
        """With the environment's login."""
        self._driver.mkdir(BUCKET)
        self._driver.put(f"{self._folder}/", self.address, recursive=True)

    def put(self, name: str, content: bytes, **options: str) -> None:
        self._driver.pipe_file(self.address + name, content, **options)

    def remove(self, name: str) -> None:
        self._driver.rm_file(self.address + name)

    @property
    def _driver(self) -> Any:
        from s3fs import S3FileSystem

        return S3FileSystem()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        name = environ["PATH_INFO"].removeprefix(f"/{BUCKET}/de/shards/")
        if environ["REQUEST_METHOD"] == "GET" and name != environ["PATH_INFO"]:
            self.asked[name] += 1
            start, end = environ.get("HTTP_RANGE", "bytes=0-999999999").removeprefix("bytes=").split("-")
            self.most = max(self.most, int(end) - int(start) + 1)
            if faults := self.faults.get(name):
                return faults.pop(0)(environ, start_response)
        return self._moto(environ, start_response)


def drop(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    start_response("200 OK", [])
    return []


def cut(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
    """Half of what was promised."""
    start_response("206 Partial Content", [("Content-Length", "1000")])
    yield b"x" * 500
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def busy(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
    start_response("503 Slow Down", [("Content-Length", "0")])
    return []
