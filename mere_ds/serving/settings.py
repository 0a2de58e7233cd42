"""Every knob of `mere-ds serve`, and where it may listen."""

import ipaddress
import os
import socket
from dataclasses import dataclass

from mere_ds.errors import UserError
from mere_ds.knobs import check_knobs, knob

TOKEN = "MERE_DS_TOKEN"
"""The environment variable with the token that clients must send."""


@dataclass(frozen=True)
class ServeSettings:
    """Raises UserError for values that are out of bounds."""

    host: str = knob(
        f"Address to listen on; one that other machines reach needs a token in the environment ({TOKEN}).",
        "127.0.0.1",
        also="address bind ip",
    )
    port: int = knob("Port to listen on; 0: a free one.", 8000, least=0, most=65535)
    allowed_hosts: tuple[str, ...] = knob(
        "Names under which browsers may reach the server, such as mere.example.org behind a proxy; IP addresses and "
        "localhost always may.",
        (),
        also="names",
    )
    max_batch: int = knob("Texts to compute at once.", 128, least=1, also="batch_size")
    max_wait_ms: float = knob("How long a text waits for others to be computed with it.", 3.0, least=0, most=10_000)
    max_queue: int = knob(
        "Texts, and sentences of documents, that may wait; a request beyond that is answered by status 429.",
        4096,
        least=1,
    )
    max_text: int = knob("Longest text or document in characters.", 20_000, least=1)
    max_body: int = knob("Largest request in bytes.", 1 << 20, least=1)

    def __post_init__(self) -> None:
        check_knobs(self)


def token_of_environment() -> str | None:
    """The token that clients must send; None if there is none. Raises UserError for one that a header can't carry."""
    token = os.environ.get(TOKEN)
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise UserError(f"{TOKEN}: must be letters, digits and punctuation of ASCII: set it anew, or unset it")
    return token


def listener(settings: ServeSettings, token: str | None) -> socket.socket:
    """A socket at the address of `settings`. Raises UserError if it can't be had, or others could reach it without a
    token."""
    where = f"--host={settings.host} --port={settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host={settings.host}: no such address ({error}): pass 127.0.0.1") from None
    if token is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise UserError(f"--host={settings.host}: other machines reach this address: set a token in {TOKEN} first")
    its = socket.socket(family, kind, protocol)
    try:
        its.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        its.bind(address)
    except OSError as error:
        its.close()
        raise UserError(f"{where}: {error.strerror}: pass another --port") from None
    return its


def is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a request with this Host header is answered.

    A page of another site whose name was made to resolve to this machine (DNS rebinding) sends its own name, so IP
    addresses and localhost are safe.
    """
    name = _without_port(host).lower()
    if name == "localhost" or name in {its.lower() for its in allowed}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host if host.count(":") == 1 else host
