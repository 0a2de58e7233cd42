"""Runs the server until SIGINT or SIGTERM; requests that it has accepted are answered first."""

import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import uvicorn

from mere_ds.config import AUTO
from mere_ds.corpus.sentences import with_sentencex
from mere_ds.documents import Cut, cut
from mere_ds.errors import UserError
from mere_ds.inference import Extractor
from mere_ds.language_detection import detector_for
from mere_ds.serving.app import Engine, make_app
from mere_ds.serving.batching import Limits, Text
from mere_ds.serving.settings import ServeSettings

_FILES, _SPARE_FILES = 8192, 64
"""How many files this process may have open at most, and how many of them are not connections."""


def engine_of(extractor: Extractor, name: str) -> Engine:
    """Answers with this extractor, whose own limits hold where a request has none."""

    def compute(texts: Sequence[Text], languages: Sequence[str], limits: Limits) -> list[dict]:
        given = {field: value for field, value in limits._asdict().items() if value is not None}
        return _answers(replace(extractor, **given), texts, languages)

    make_cut: Callable[[str, str], Cut] | None = None
    with suppress(UserError):  # sentencex is not installed
        make_cut = partial(cut, extractor, split=with_sentencex())
    try:
        detector_for(extractor.languages)
        auto: tuple[str, ...] = (AUTO,)
    except UserError:  # none of its languages can be detected, or the library isn't installed
        auto = ()
    least = extractor.calibration.min_score if extractor.finds_many else None
    min_score = least if extractor.min_score is None else extractor.min_score
    return Engine(name, (*auto, *extractor.languages), extractor.labels, min_score, compute, make_cut)


def _answers(extractor: Extractor, texts: Sequence[Text], languages: Sequence[str]) -> list[dict]:
    """An answer for each text; for pieces of documents one that has their triples alone."""
    pairs = list(zip(texts, languages, strict=True))
    whole = [(text, language) for text, language in pairs if isinstance(text, str)]
    pieces = [(piece, language) for piece, language in pairs if not isinstance(piece, str)]
    answers = iter(extractor.answers([text for text, _ in whole], [language for _, language in whole]))
    read, encoded = [piece.text for piece, _ in pieces], [piece.encoded for piece, _ in pieces]
    found = iter(extractor.triples_of(read, encoded, [language for _, language in pieces]))
    return [next(answers) if isinstance(text, str) else {"triples": next(found)} for text in texts]


def serve_model(engine: Engine, listening: socket.socket, settings: ServeSettings, token: str | None) -> None:
    """Answers requests at a socket until SIGINT or SIGTERM, then those that it has accepted. Raises KeyboardInterrupt
    at a second SIGINT, which doesn't wait for these."""
    server = http_server(engine, settings, token, _connections())
    for number in (signal.SIGINT, signal.SIGTERM):  # which uvicorn sends to itself once more after it has stopped
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    if server.force_exit:
        raise KeyboardInterrupt


def http_server(engine: Engine, settings: ServeSettings, token: str | None, connections: int) -> uvicorn.Server:
    """To be run with sockets; it ends when its `should_exit` is set."""
    config = uvicorn.Config(
        make_app(engine, settings, token),
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
    )
    return _Announced(config)


class _Announced(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for its in sockets or []:
            host, port = its.getsockname()[:2]
            sys.stderr.write(f"http://{f'[{host}]' if ':' in host else host}:{port}/ answers; Ctrl-C stops\n")


def _connections() -> int:
    """How many connections this process may have; as many as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        soft = _FILES if hard == resource.RLIM_INFINITY else max(soft, min(hard, _FILES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(soft, _FILES) - _SPARE_FILES
