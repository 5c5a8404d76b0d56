"""Secures the pods' HTTP interfaces with a bearer token and TLS, both optional.

The configuration comes from the environment only, and is the same for all pods of a run: `OFFLOAD_TOKEN` (or
`OFFLOAD_TOKEN_FILE`), and `OFFLOAD_TLS_CERTIFICATE`, `OFFLOAD_TLS_KEY`, `OFFLOAD_TLS_AUTHORITY` (PEM files, read once).

TLS protects against eavesdropping and against servers that impersonate a pod. Only the token authorizes clients. Pods
change their addresses, so clients do not check the name in a certificate: they accept every server with a certificate
of the authority. The authority should therefore sign nothing else.
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
"""Paths for the kubelet and Prometheus, which need no token."""
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
    """PEM files: this pod's certificate and key, and the authority that signed the certificates of all pods."""

    certificate: Path
    key: Path
    authority: Path

    @cached_property
    def client(self) -> ssl.SSLContext:
        """The context for connections to other pods. It accepts every certificate that the authority signed."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname = False
        return context


@dataclass(frozen=True)
class Access:
    """How the pods of a run authenticate and encrypt their connections."""

    token: str | None = field(default=None, repr=False)
    tls: TLS | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Access:
        """The access in the environment. Raises SettingsError that names the missing or wrong variable."""
        token = read_secret(environment, "TOKEN")
        if token is not None and (
            len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token
        ):
            raise SettingsError(
                f"OFFLOAD_TOKEN: a token has at least {_SHORTEST_TOKEN} printable ASCII characters and no spaces; "
                "create one with `openssl rand -hex 32`"
            )
        return cls(token, _tls(environment))

    @property
    def scheme(self) -> str:
        """The scheme of the pods' addresses."""
        return "http" if self.tls is None else "https"

    def allows(self, authorization: str | None, browser: bool = False) -> bool:
        """Whether a request with this `Authorization` header is authorized. Compares in constant time.

        The header is `Bearer TOKEN`. A `browser` may also send `Basic` with the token as the password.
        """
        if self.token is None:
            return True
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() == "basic" and browser:
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:  # not base64, ASCII or UTF-8
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), self.token.encode())

    def headers(self) -> dict[str, str]:
        """The headers of a request to another pod."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def connection(self, address: str, timeout_s: float) -> HTTPConnection:
        """A connection to a pod's address. The first request opens it."""
        place = urlsplit(address).netloc
        if self.tls is None:
            return _Connection(place, timeout=timeout_s)
        return _SecuredConnection(place, timeout=timeout_s, context=self.tls.client)

    def secured(self, made: socket.socket) -> socket.socket:
        """The socket that is connected to a pod, with TLS if it is configured. Raises OSError."""
        return made if self.tls is None else self.tls.client.wrap_socket(made)


OPEN: Final = Access()
"""Neither token nor TLS: for one machine, or for a network that a policy or a service mesh protects."""


def guarded(app: WSGI, access: Access) -> WSGI:
    """The application, protected by the token if there is one.

    A browser with the token as password may only read: it would also send the password with requests of other sites.
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
        # An upgrade is a GET request, but lets its sender hand tasks over.
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
