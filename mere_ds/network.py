"""Asking a web server: redirects are followed only where they may be, and a server that stalls is given up.

A timeout on each read alone is none: a server that sends a byte now and then would be waited for without end.
"""

import http.client
import io
import time
import urllib.request
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urlsplit

SILENCE_SECONDS = 60
"""The longest that a server may send nothing."""
WINDOW_SECONDS = 30
"""How long a server is waited for, once it has begun to send, until it must have sent ..."""
LEAST_BYTES = 16 << 10
"""... so many bytes, again and again."""


class BadAddress(Exception):
    """An address that can't be asked, or a redirect to one that isn't followed.

    Its text names no address: one that a redirect made may hold a secret.
    """


def open_address(
    url: str, may_follow: Callable[[str, str], bool], headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    """The answer to a GET of `url`, to be closed by the caller.

    `may_follow(from, to)` says whether a redirect is followed. Raises BadAddress, urllib.error.HTTPError for other
    answers than success, OSError (TimeoutError for a server that is too slow) and HTTPException, the last two also
    while the answer is read.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "mere-ds", **(headers or {})})
    opener = urllib.request.build_opener(_Redirects(may_follow), _Http, _Https)
    try:
        return opener.open(request, timeout=SILENCE_SECONDS)
    except (ValueError, http.client.InvalidURL):  # what urllib makes of an address that is none
        raise BadAddress("no address that can be asked") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, may_follow: Callable[[str, str], bool]):
        self._may_follow = may_follow

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (ValueError, http.client.InvalidURL):
            raise BadAddress(f"the server redirects ({code}) to no address that can be asked") from None

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
        fp.close()  # else urllib reads all that comes with the redirect, however much it is
        parts = urlsplit(newurl)
        if not parts.hostname or parts.port == 0 or not self._may_follow(req.full_url, newurl):
            raise BadAddress(f"the server redirects ({code}) to an address that is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Paced(io.RawIOBase):
    """A connection's bytes. Raises TimeoutError where they come too slowly; the reader's own time doesn't count."""

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
        self._begun = True  # how long a server thinks before it answers, SILENCE_SECONDS alone bounds
        if self._waited > WINDOW_SECONDS:
            if self._got < LEAST_BYTES:
                raise TimeoutError(f"the server sends too slowly, {self._got} bytes in {self._waited:.0f} s")
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
