"""HTTP requests that follow only allowed redirects and give up on a server that stalls.

A timeout per read is not enough: with a server that sends a byte now and then the client would wait forever.
"""

import http.client
import io
import time
import urllib.request
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urlsplit

SILENCE_SECONDS = 60
"""Timeout of a connection on which nothing arrives."""
WINDOW_SECONDS = 30
"""Once a server has started to send, it must send at least `LEAST_BYTES` in every such period."""
LEAST_BYTES = 16 << 10


class BadAddress(Exception):
    """An invalid address, or a redirect that isn't followed.

    Its message contains no address, because the target of a redirect may contain a secret.
    """


def open_address(
    url: str, may_follow: Callable[[str, str], bool], headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    """The response to a GET of `url`, to be closed by the caller.

    `may_follow(from, to)` says whether a redirect is followed. Raises BadAddress, urllib.error.HTTPError for any
    response but success, OSError (TimeoutError for a server that is too slow) and HTTPException; the last two may also
    be raised while the response is read.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "mere-ds", **(headers or {})})
    opener = urllib.request.build_opener(_Redirects(may_follow), _Http, _Https)
    try:
        return opener.open(request, timeout=SILENCE_SECONDS)
    except (ValueError, http.client.InvalidURL):  # how urllib rejects invalid addresses
        raise BadAddress("not a valid address") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, may_follow: Callable[[str, str], bool]):
        self._may_follow = may_follow

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (ValueError, http.client.InvalidURL):
            raise BadAddress(f"the server redirects ({code}) to an invalid address") from None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # otherwise urllib reads the body of the redirect, however long it is
        parts = urlsplit(newurl)
        if not parts.hostname or parts.port == 0 or not self._may_follow(req.full_url, newurl):
            raise BadAddress(f"the server redirects ({code}) to an address that is not allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Paced(io.RawIOBase):
    """A connection's bytes. Raises TimeoutError if they arrive too slowly; time spent by the reader doesn't count."""

    def __init__(self, raw: io.RawIOBase):
        self._raw, self._waited, self._got = raw, 0.0, 0
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        started = time.monotonic()
        got = self._raw.readinto(buffer)
        if self._begun:
            self._waited, self._got = self._waited + time.monotonic() - started, self._got + (got or 0)
        self._begun = True  # the time until the first byte is limited by SILENCE_SECONDS only
        if self._waited > WINDOW_SECONDS:
            if self._got < LEAST_BYTES:
                raise TimeoutError(f"the server is too slow, {self._got} bytes in {self._waited:.0f} s")
            self._waited, self._got = 0.0, 0
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp = io.BufferedReader(_Paced(self.fp.detach()))


class _HttpConnection(http.client.HTTPConnection):
    response_class = _Response


class _HttpsConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, req)
