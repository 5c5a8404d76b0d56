"""Who may use the pods' HTTP interfaces, and how these connections are secured: a bearer token and TLS, both optional.

From the environment alone, the same for all pods of a run: `OFFLOAD_TOKEN` (or `OFFLOAD_TOKEN_FILE`), and
`OFFLOAD_TLS_CERTIFICATE`, `OFFLOAD_TLS_KEY`, `OFFLOAD_TLS_AUTHORITY` (files in PEM, read once). TLS keeps others from reading and from
posing as a pod; who may ask is the token's matter alone. Pods move from address to address, so that a certificate's name says
nothing: a server that has one of the authority's is taken for a pod. It should sign nothing else.
"""

from __future__ import annotations

import base64
import hmac
import json
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from middleware.http.sockets import end_with_the_other
from middleware.secrets import read_secret
from offload.settings import SettingsError

OPEN_PATHS: Final = ("/healthz", "/readyz", "/metrics")
"""What a kubelet and Prometheus ask for; needs no token."""
_SHORTEST_TOKEN = 16
_FILES = ("CERTIFICATE", "KEY", "AUTHORITY")

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        end_with_the_other(self.sock)


class _SecuredConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        end_with_the_other(self.sock)


@dataclass(frozen=True)
class TLS:
    """Files in PEM: this pod's certificate and key, and the authority that signed those of all pods."""

    certificate: Path
    key: Path
    authority: Path

    @cached_property
    def client(self) -> ssl.SSLContext:
        """For connections to other pods: whoever has a certificate of the authority's is one."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname = False
        return context


@dataclass(frozen=True)
class Access:
    """How the pods of a run speak to each other."""

    token: str | None = field(default=None, repr=False)
    tls: TLS | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Access:
        """Raises SettingsError naming the variable that is missing or wrong."""
        token = read_secret(environment, "TOKEN")
        if token is not None and (
            len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token
        ):
            raise SettingsError(
                f"OFFLOAD_TOKEN: a token has at least {_SHORTEST_TOKEN} printable ASCII characters and no spaces; "
                "`openssl rand -hex 32` makes a good one"
            )
        return cls(token, _tls(environment))

    @property
    def scheme(self) -> str:
        """Of the pods' addresses."""
        return "http" if self.tls is None else "https"

    def allows(self, authorization: str | None, browser: bool = False) -> bool:
        """Whether a request with this `Authorization` may pass: `Bearer TOKEN`; for a `browser`, which can only ask for a
        password, also `Basic`, with the token as the password. Compared in constant time.
        """
        if self.token is None:
            return True
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() == "basic" and browser:
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:  # no base64, no ASCII, no UTF-8
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), self.token.encode())

    def headers(self) -> dict[str, str]:
        """What a request to another pod carries."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def connection(self, address: str, timeout_s: float) -> HTTPConnection:
        """A connection to a pod's address, not made yet."""
        place = urlsplit(address).netloc
        if self.tls is None:
            return _Connection(place, timeout=timeout_s)
        return _SecuredConnection(place, timeout=timeout_s, context=self.tls.client)

    def secured(self, made: socket.socket) -> socket.socket:
        """A socket that is connected to a pod, behind TLS where that is configured. Raises OSError."""
        return made if self.tls is None else self.tls.client.wrap_socket(made)


OPEN: Final = Access()
"""Neither token nor TLS: for one machine, or behind somebody else's network policy and mesh."""


def guarded(app: WSGI, access: Access) -> WSGI:
    """The application, which only those reach who know the token; itself where there is none.

    With a password a browser may read, not change anything: what it knows it sends with other sites' requests, too.
    """
    if access.token is None:
        return app
    refusal = {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "this interface needs the header `Authorization: Bearer TOKEN`, with the token of OFFLOAD_TOKEN",
    }
    content = json.dumps(refusal).encode()

    def guard(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # An upgrade is a GET, and lets its sender hand tasks over.
        reads = environ["REQUEST_METHOD"] in ("GET", "HEAD") and "HTTP_UPGRADE" not in environ
        if environ["PATH_INFO"] in OPEN_PATHS or access.allows(environ.get("HTTP_AUTHORIZATION"), browser=reads):
            return app(environ, start_response)
        headers = [
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(content))),
            (
                "WWW-Authenticate",
                'Basic realm="offload-testbed: any name, the token as password"' if reads else "Bearer",
            ),
        ]
        start_response("401 Unauthorized", headers)
        return [content]

    return guard


def _tls(environment: Mapping[str, str]) -> TLS | None:
    files = {name: environment.get(f"OFFLOAD_TLS_{name}") for name in _FILES}
    if not any(files.values()):
        return None
    for name, file in files.items():
        if not file:
            raise SettingsError(f"OFFLOAD_TLS_{name} is not set; TLS between pods needs certificate, key and authority")
        if not Path(file).is_file():
            raise SettingsError(f"OFFLOAD_TLS_{name}={file}: there is no such file")
    made = TLS(*(Path(str(files[name])) for name in _FILES))
    try:
        ssl.create_default_context().load_cert_chain(made.certificate, made.key)
        _ = made.client
    except (ssl.SSLError, OSError) as wrong:
        raise SettingsError(
            f"OFFLOAD_TLS_…: {made.certificate}, {made.key} and {made.authority} cannot be used: {wrong}"
        ) from None
    return made
