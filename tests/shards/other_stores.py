"""As much of the protocols of Google's and Azure's stores and of the Hugging Face hub as reading takes."""

import contextlib
import json
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

ACCOUNT = "devstoreaccount1"


class Store:
    """Has the files of `folder` as `bucket/shards/NAME`.

    With a `fault` each answer has this status, or waits for this event.
    """

    def __init__(self, folder: Path):
        self.folder: Path = folder
        self.fault: int | threading.Event = 0
        self.asked: Counter[str] = Counter()
        """Requests for content."""
        self.most = 0
        """Bytes of the longest range asked for."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, store: Store, *args):
        self.store = store
        super().__init__(*args)

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._tell([self._of_hub(path) for path in asked["paths"] if self._file(path)])

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if isinstance(fault := self.store.fault, threading.Event):
            fault.wait(10)
        elif fault:
            return self._answer(fault)
        if path.startswith("/storage/v1/b/bucket/o/"):
            return self._describe(path.removeprefix("/storage/v1/b/bucket/o/"))
        if path == "/storage/v1/b/bucket/o":
            return self._tell({"kind": "storage#objects"})
        if path == "/api/datasets/org/name" or path.startswith("/api/datasets/org/name/revision/"):
            return self._tell({"id": "org/name", "sha": "0" * 40})
        if path.startswith("/api/datasets/org/name/tree/main/shards"):
            folder = path.removeprefix("/api/datasets/org/name/tree/main/shards").strip("/")
            if not (self.store.folder / folder).is_dir():
                return self._answer(404)
            files = [file for file in (self.store.folder / folder).iterdir() if file.is_file()]
            return self._tell([self._of_hub(f"shards/{file.relative_to(self.store.folder)}") for file in files])
        for start in ("/download/storage/v1/b/bucket/o/", f"/{ACCOUNT}/bucket/", "/datasets/org/name/resolve/main/"):
            if path.startswith(start):
                return self._content(path.removeprefix(start))
        return self._answer(404)

    def _file(self, name: str) -> Path | None:
        file = self.store.folder / name.removeprefix("shards/")
        return file if name.startswith("shards/") and file.is_file() else None

    def _describe(self, name: str) -> None:
        file = self._file(name)
        if file is None:
            return self._answer(404)
        self._tell({"name": name, "bucket": "bucket", "size": str(file.stat().st_size)})

    def _of_hub(self, name: str) -> dict:
        return {"type": "file", "path": name, "size": self._file(name).stat().st_size, "oid": "0" * 40}

    def _content(self, name: str) -> None:
        file = self._file(name)
        if file is None:
            return self._answer(404)
        content = file.read_bytes()
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        if self.command == "HEAD" or not asked:
            return self._answer(200, content)
        self.store.asked[name] += 1
        start, end = map(int, asked.removeprefix("bytes=").split("-"))
        self.store.most = max(self.store.most, end - start + 1)
        self._answer(206, content[start : end + 1], f"bytes {start}-{end}/{len(content)}")

    def _tell(self, what: object) -> None:
        self._answer(200, json.dumps(what).encode(), kind="application/json")

    def _answer(self, code: int, content: bytes = b"", of: str = "", kind: str = "application/octet-stream") -> None:
        self.send_response(code)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "ETag": '"1"', "Content-Range": of}
        headers |= {"X-Error-Code": "EntryNotFound" if code == 404 else ""}  # what the hub says
        headers |= {"Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT", "x-ms-blob-type": "BlockBlob"}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        with contextlib.suppress(OSError):  # whoever asked has left
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")
