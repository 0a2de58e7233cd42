"""A real server in a thread, with a stand-in for the model, and clients for it."""

import contextlib
import http.client
import json
import re
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from mere_ds.documents import Cut
from mere_ds.errors import UserError
from mere_ds.serving.app import Engine
from mere_ds.serving.batching import Limits
from mere_ds.serving.program import http_server
from mere_ds.serving.settings import ServeSettings, listener
from mere_ds.shards.encoding import Encoded
from mere_ds.shards.windows import Window

LANGUAGES = ("de", "ko", "pt-BR")
NO_LIMITS = Limits()


@dataclass
class StandIn:
    """Finds in a text, with falling scores, a triple from its first word to each other one."""

    batches: list[list[str]] = field(default_factory=list)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    is_computing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.may_go_on.set()

    def engine(self) -> Engine:
        return Engine("model", LANGUAGES, ("first",), 0.2, self.compute, at_stops)

    def compute(self, texts, languages, limits: Limits) -> list[dict]:
        self.is_computing.set()
        assert self.may_go_on.wait(60)
        texts = [text if isinstance(text, str) else text.text for text in texts]
        self.batches.append(list(texts))
        if "boom" in texts:
            raise RuntimeError("secret of the traceback")
        if "too large" in texts:
            raise UserError("the model's scores aren't finite")
        return [answer_to(text, language, limits) for text, language in zip(texts, languages, strict=True)]


def at_stops(text: str, language: str) -> Cut:
    """Sentences end at full stops."""
    found = re.finditer(r"[^. ][^.]*", text)
    windows = [Window(its.start(), its[0], Encoded(np.zeros(0, np.int32), [], False)) for its in found]
    return Cut(language, windows, None if windows else "empty text")


def answer_to(text: str, language: str, limits: Limits = NO_LIMITS) -> dict:
    spans, place = [], 0
    for word in text.split(" "):
        spans.append({"text": word, "start": place, "end": place + len(word)})
        place += len(word) + 1
    least = 0.2 if limits.min_score is None else limits.min_score
    scored = [(tail, 1 / (n + 1)) for n, tail in enumerate(spans[1:])]
    triples = [
        {"head": spans[0], "relation": "first", "tail": tail, "score": score}
        for tail, score in scored[: limits.max_triples]
        if score >= least
    ]
    return {"text": text, "lang": language, "triples": triples}


@contextlib.contextmanager
def serving(engine: Engine, token: str | None = None, **settings):
    """A running server: its port, and `stop`, which tells it to end; it has ended after the block."""
    settings = ServeSettings(port=0, **{"max_wait_ms": 1, **settings})
    with listener(settings, token) as listening:
        port = listening.getsockname()[1]
        server = http_server(engine, settings, token, 4096)
        started = threading.Event()
        usual = server.startup

        async def startup(sockets=None):
            await usual(sockets)
            started.set()

        server.startup = startup
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        assert started.wait(60)
        try:
            yield SimpleNamespace(port=port, stop=lambda: setattr(server, "should_exit", True), thread=thread)
        finally:
            server.should_exit = True
            thread.join(60)
    assert not thread.is_alive()


@dataclass
class Client:
    """One request after another, each on a connection of its own."""

    port: int
    headers: dict = field(default_factory=dict)

    def send(self, method: str, path: str, body: bytes | None = None, **headers):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, self.headers | named)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def get(self, path: str, **headers):
        return self.send("GET", path, **headers)

    def ask(self, content, **headers):
        """(status, what /extract answers to this JSON)"""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        status, _, answer = self.send("POST", "/extract", body, **{"content_type": "application/json", **headers})
        return status, json.loads(answer)
