"""Shards in an object store or on the Hugging Face hub, by its own fsspec driver; see `mere_ds.shards.fetching.Way`.

Credentials are found by the drivers, in the environment or in files of the user. A driver's own messages are not shown:
some contain signed addresses.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from mere_ds.errors import UserError
from mere_ds.optional_libraries import needed
from mere_ds.shards.fetching import Broken, cut_off, may_be_over_soon, too_long

RANGE = 4 << 20
"""Bytes of a request."""
RANGE_SECONDS = 120.0
"""How long one may take."""


def _s3() -> Any:
    from s3fs import S3FileSystem

    driver = S3FileSystem(config_kwargs={"retries": {"total_max_attempts": 1}})
    driver.retries = 1  # `fetch` tries again, and says so
    return driver


def _gs() -> Any:
    from gcsfs import GCSFileSystem

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs the traceback of each error that it raises
    return GCSFileSystem()


def _az() -> Any:
    from adlfs import AzureBlobFileSystem

    return AzureBlobFileSystem()


def _hf() -> Any:
    from huggingface_hub import HfFileSystem

    return HfFileSystem()


@dataclass(frozen=True)
class _Store:
    driver: Callable[[], Any]
    """Imports and makes the driver."""
    form: str
    """What follows on `scheme://`."""
    login: str
    """Where the driver finds credentials."""
    without_login: tuple[str, ...] = ()
    """Names of the exceptions that it raises where it finds none."""
    reading: dict[str, Any] = field(default_factory=dict)
    """What its `cat_file` takes besides."""


STORES = {
    "s3": _Store(
        _s3,
        "bucket/path",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or FSSPEC_S3_ANON=true for a public bucket",
        ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "SSOTokenLoadError"),
    ),
    "gs": _Store(
        _gs,
        "bucket/path",
        "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login",
        ("DefaultCredentialsError", "RefreshError"),
    ),
    "az": _Store(
        _az,
        "container/path",
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
        ("ClientAuthenticationError",),
    ),
    "hf": _Store(
        _hf, "datasets/org/name/path", "HF_TOKEN, or hf auth login", reading={"cache_type": "none"}
    ),  # else it reads ahead
}
"""By scheme."""


def chunks_of(url: str, most: int) -> Generator[bytes, None, None]:
    """The object at `url`, range by range, see `Way`."""
    scheme = urlsplit(url).scheme
    store = STORES[scheme]
    try:
        with needed(f"shards at {scheme}:// need"):
            driver = store.driver()
        size = _limited(driver, "info", url, refresh=True)["size"]
        if size > most:
            raise too_long(url, most)
        for start in range(0, size, RANGE):
            end = min(start + RANGE, size)
            chunk = _limited(driver, "cat_file", url, start=start, end=end, **store.reading)
            if len(chunk) != end - start:
                raise cut_off(start + len(chunk), size)
            yield chunk
    except (UserError, Broken):
        raise
    except Exception as error:  # each driver has its own kinds
        raise _told(error, url, store) from None


def _limited(driver: Any, method: str, url: str, **options: Any) -> Any:
    """What a driver's method returns. Raises TimeoutError after `RANGE_SECONDS`."""
    call = getattr(driver, method)
    if driver.async_impl:
        return call(url, **options, timeout=RANGE_SECONDS)
    done: Future = Future()

    def run() -> None:
        try:
            done.set_result(call(url, **options))
        except BaseException as error:  # whoever waits raises it
            done.set_exception(error)

    Thread(target=run, name="object-store", daemon=True).start()
    return done.result(RANGE_SECONDS)


def _told(error: Exception, url: str, store: _Store) -> UserError | Broken:
    """A driver's error as one of ours."""
    causes = list(_with_causes(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    code = next(filter(None, map(_http_code, causes)), 0)
    if code in (404, 410) or "FileNotFoundError" in kinds:
        return UserError(
            f"{url}: the store has no such file: pass the address of a complete folder made by mere-ds shard"
        )
    if code in (401, 403) or not kinds.isdisjoint(("PermissionError", *store.without_login)):
        return UserError(f"{url}: the store refuses access: log in, by {store.login}")
    if 400 <= code < 500 and not may_be_over_soon(code) or isinstance(error, ValueError):
        return UserError(f"{url}: {_reason(causes, code)}: check the address, and {store.login}")
    return Broken(_reason(causes, code))


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _http_code(error: BaseException) -> int:
    """The status that the store answered with, 0 if it did not get to that."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        code = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif str(error).startswith("Forbidden: "):  # gcsfs
        code = 403
    elif type(error).__name__ == "HttpError":  # gcsfs
        code = getattr(error, "code", 0)
    else:  # Azure, and the hub
        code = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return code if isinstance(code, int) else 0


def _reason(causes: list[BaseException], code: int) -> str:
    if code:
        return f"the store answered {code}"
    if type(causes[0]).__name__.endswith("TimeoutError"):  # before Python 3.11 there are several
        return f"the store is too slow, no {RANGE >> 20} MiB in {RANGE_SECONDS:g} s"
    for cause in reversed(causes):  # the first of them
        if isinstance(cause, OSError) and cause.errno:
            return str(cause.strerror) if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
    return type(causes[0]).__name__
