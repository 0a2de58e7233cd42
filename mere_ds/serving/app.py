"""The server's paths: what each answers, and what every answer is guarded by."""

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import mere_ds
from mere_ds.documents import Cut, joined
from mere_ds.serving.asking import Question, Reader, Refused
from mere_ds.serving.batching import Batcher, Compute, Failed, QueueFull, Text
from mere_ds.serving.description import description
from mere_ds.serving.measures import Measures
from mere_ds.serving.settings import ServeSettings, is_allowed

_BODY_SECONDS = 20.0
_BODIES = 64
"""Bytes of unread requests that are held, as a multiple of the largest request."""

_PAGE = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js", "/drawing.js": "drawing.js"}
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_OF_PAGE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
}

_OPEN = {"/healthz", *_PAGE}
"""Paths that need no token: the page holds nothing of the model, and asks for it."""
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True)
class Engine:
    """What the server computes with."""

    name: str
    languages: tuple[str, ...]
    """As requests may name them, see `Reader`."""
    labels: tuple[str, ...]
    min_score: float | None
    """Least score of a triple if a request names none; None: any."""
    compute: Compute
    cut: Callable[[str, str], Cut] | None
    """(document, language) -> what to compute of it; None if documents can't be cut into sentences."""


def make_app(engine: Engine, settings: ServeSettings, token: str | None) -> ASGIApp:
    """The application; its lifespan starts and ends the thread that computes."""
    server = _Server(engine, settings, token)
    return _Guard(server.app, server.measures, settings.allowed_hosts, token, {route.path for route in server.routes})


class _Server:
    def __init__(self, engine: Engine, settings: ServeSettings, token: str | None):
        self.engine, self.settings = engine, settings
        self.measures = Measures()
        wait = settings.max_wait_ms / 1000
        self.batcher = Batcher(engine.compute, settings.max_batch, wait, settings.max_queue, self.measures)
        self.reader = Reader(engine.languages, settings.max_text, settings.max_queue, engine.cut is not None)
        self.description = description(self.reader, settings.max_body, token is not None)
        self.held = 0  # bytes of requests that are being received
        self.routes = [
            Route("/extract", self.extract, methods=["POST"]),
            Route("/about", self.about),
            Route("/healthz", self.healthz),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            *(Route(path, _page_file(name)) for path, name in _PAGE.items()),
        ]
        handlers: dict[Any, Any] = {
            Refused: _refused,
            HTTPException: _no_such,
            ClientDisconnect: _disconnected,
            Exception: _failed,
        }
        self.app = Starlette(routes=self.routes, exception_handlers=handlers, lifespan=self.lifespan)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.batcher.start()
        yield
        await asyncio.to_thread(self.batcher.close)

    async def extract(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "send the request as Content-Type: application/json")
        question = self.reader.question(await self._body(request))
        if question.is_document:
            return _json(await self._document(request, question))
        answers = await self._computed(request, question, question.texts, question.languages)
        return _json(answers[0] if question.is_one else {"answers": answers})

    async def _document(self, request: Request, question: Question) -> dict:
        """The answer to a document, of which each piece that the model reads has a place in the queue."""
        (text,), (language,) = question.texts, question.languages
        assert self.engine.cut is not None  # else the reader has refused it
        with _queue_full():
            self.batcher.check_room()  # before it is cut
        cut = await asyncio.to_thread(self.engine.cut, text, language)
        most, pieces = self.settings.max_queue, len(cut.windows)
        if pieces > most:
            raise Refused(413, f'"document" has {pieces} sentences: send at most {most} at once')
        found = await self._computed(request, question, cut.windows, [cut.language or ""] * pieces)
        answer = {"text": text, "lang": cut.language, "triples": joined(cut.windows, [its["triples"] for its in found])}
        return answer if cut.note is None else answer | {"note": cut.note}

    async def _computed(
        self, request: Request, question: Question, texts: Sequence[Text], languages: Sequence[str]
    ) -> list[dict]:
        """The answers to texts. Raises Refused, and ClientDisconnect as soon as nobody waits for them."""
        with _queue_full():
            job = self.batcher.put(texts, languages, question.limits)
        gone = asyncio.ensure_future(_gone(request.receive))
        either: set[asyncio.Future[Any]] = {job.answers, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if not job.answers.done():
            job.answers.cancel()
            self.batcher.drop(job)
            raise ClientDisconnect
        try:
            return job.answers.result()
        except Failed as failed:
            raise Refused(500, str(failed)) from None

    async def _body(self, request: Request) -> bytes:
        """Raises Refused if it is too large, comes too slowly, or too many are coming at once."""
        try:
            return await asyncio.wait_for(self._received(request), _BODY_SECONDS)
        except asyncio.TimeoutError:
            raise Refused(408, f"the request's body didn't come within {_BODY_SECONDS:.0f} s") from None

    async def _received(self, request: Request) -> bytes:
        most, body = self.settings.max_body, bytearray()
        too_large = Refused(413, f"the request has more than {most} bytes: send fewer texts at once")
        stated = request.headers.get("content-length", "")
        if stated and "transfer-encoding" in request.headers:  # a proxy may read the other length
            raise Refused(400, "the request states its length twice: send Content-Length or chunks")
        if stated.isascii() and stated.isdigit() and int(stated[:20]) > most:
            raise too_large
        try:
            async for chunk in request.stream():
                body += chunk
                self.held += len(chunk)
                if len(body) > most:
                    raise too_large
                if self.held > most * _BODIES:
                    raise Refused(429, "too many requests at once: try again in 1 s", {"retry-after": "1"})
        finally:
            self.held -= len(body)
        return bytes(body)

    async def about(self, request: Request) -> Response:
        return _json(
            {
                "model": self.engine.name,
                "version": mere_ds.__version__,
                "languages": self.engine.languages,
                "labels": self.engine.labels,
                "min_score": self.engine.min_score,
                "max_text": self.settings.max_text,
                "max_texts": self.settings.max_queue,
                "max_body": self.settings.max_body,
                "documents": self.engine.cut is not None,
            }
        )

    async def healthz(self, request: Request) -> Response:
        alive = self.batcher.is_alive
        return _json({"status": "ok" if alive else "the computing thread has ended"}, 200 if alive else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self.measures.text(), headers={"content-type": self.measures.content_type})

    async def openapi(self, request: Request) -> Response:
        return _json(self.description)


class _Guard:
    """Around every request: Host, token, security headers, counters."""

    def __init__(
        self, app: ASGIApp, measures: Measures, allowed: tuple[str, ...], token: str | None, paths: set[str]
    ) -> None:
        self.app, self.measures, self.allowed, self.paths = app, measures, allowed, paths
        self.token = token and token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                ours = ((name.encode(), value.encode()) for name, value in _HEADERS.items())
                message["headers"] = [*message["headers"], *(pair for pair in ours if pair[0] not in present)]
            await send(message)

        headers = dict(scope["headers"])
        refusal = self._refusal(scope["path"], headers.get(b"host", b""), headers.get(b"authorization", b""))
        try:
            await (self.app if refusal is None else refusal)(scope, receive, answer)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.measures.request(path, status, time.perf_counter() - started)

    def _refusal(self, path: str, host: bytes, authorization: bytes) -> Response | None:
        if not is_allowed(host.decode("latin-1"), self.allowed):
            return _json({"error": "this server doesn't answer under this name: see --allowed_hosts"}, 421)
        scheme, _, given = authorization.partition(b" ")
        known = scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.token or b"")
        if self.token and path not in _OPEN and not known:
            how = {"www-authenticate": "Bearer"}
            return _json({"error": "send the server's token as Authorization: Bearer TOKEN"}, 401, how)
        return None


@contextlib.contextmanager
def _queue_full() -> Iterator[None]:
    """Raises Refused for QueueFull."""
    try:
        yield
    except QueueFull as full:
        after = {"retry-after": str(full.seconds)}
        raise Refused(429, f"the queue is full: try again in {full.seconds} s", after) from None


def _page_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = files(__package__).joinpath(name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, headers=_OF_PAGE, media_type=_KINDS[name.rpartition(".")[2]])

    return answer


async def _gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


async def _refused(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return _json({"error": refused.message}, refused.status, refused.headers)


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "no such path: see /openapi.json", 405: "not with this method: see /openapi.json"}
    return _json({"error": what.get(error.status_code, error.detail)}, error.status_code, error.headers)


async def _disconnected(request: Request, error: Exception) -> Response:
    """Nobody reads this answer; its status is counted."""
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    """Of an error in the server itself; uvicorn logs it."""
    return _json({"error": "an error in the server: its log says more"}, 500)
