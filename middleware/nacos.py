"""Connects the registry and the configuration to a Nacos server, with the synchronous client of `nacos-sdk-python` 2.0.

The URL is `nacos://[user@]host:8848[,host2:8848][/namespace][?group=offload]`. The client uses Nacos' HTTP
interface v1, which servers 1.x to 3.1 have (docs/operations.md says why this client).

This module disables the client's side effects: log files in the home directory, cached snapshots that it returns when
the server is unavailable, tokens in the log, and listeners in separate processes.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

from middleware.errors import ServiceRefused, ServiceUnavailable
from middleware.extras import require_extra
from middleware.outages import OutageLog
from offload.addresses import NACOS, redacted
from offload.settings import SettingsError

TIMEOUT_S = 3.0
DEFAULT_GROUP = "offload"
_PORT = 8848

_Result = TypeVar("_Result")

_logger = logging.getLogger(__name__)
_outages: dict[str, OutageLog] = {}
"""By server address: registry and configuration often use the same server, whose outage is logged once."""


class NacosServer:
    """One or several servers, a namespace and a group. Thread-safe: each thread has its own client.

    Raises SettingsError for a URL of another form, or if the package is not installed.
    """

    def __init__(self, url: str, setting: str) -> None:
        form = NACOS.fullmatch(url)
        if form is None:
            raise SettingsError(
                f"services.{setting}: '{redacted(url)}' is not of the form "
                "nacos://[user@]host:8848[/namespace][?group=name]"
            )
        require_extra("nacos", "nacos", f"services.{setting}")
        credentials, self._hosts, namespace, group = form.groups()
        self._user, _, self._password = (unquote(part) for part in (credentials or "").partition(":"))
        self._namespace = namespace or ""
        self.group = group or DEFAULT_GROUP
        self.shown = redacted(url)
        self._of_thread = threading.local()
        self.outage_count = 0
        """How many calls found the server unavailable. After each, the server may have lost the last write."""
        self._outage = _outages.setdefault(self._hosts, OutageLog(_logger, f"Nacos at {self._hosts}"))

    def call(self, what: str, ask: Callable[[Any], _Result]) -> _Result:
        """The result of `ask(client)`. Raises ServiceUnavailable or ServiceRefused. what: the call, for the message"""
        from nacos import NacosException
        from nacos.exception import NacosRequestException

        began = time.monotonic()
        try:
            result = ask(self._client())
        except NacosRequestException as error:
            raise self._unavailable(began, what, f"does not answer ({error})") from None
        except NacosException as refused:
            if "privilege" in str(refused):
                raise self._refused(what) from None
            raise self._unavailable(began, what, f"cannot execute the request now ({refused})") from None
        except (OSError, ValueError) as broken:  # an interrupted connection; an answer that is not JSON
            if getattr(broken, "code", None) == 403:
                raise self._refused(what) from None
            raise self._unavailable(began, what, f"does not answer ({type(broken).__name__})") from None
        self._outage.answered_after(time.monotonic() - began)
        return result

    def _unavailable(self, began: float, what: str, why: str) -> ServiceUnavailable:
        self.outage_count += 1
        self._outage.failed(why, since_s=began)
        return ServiceUnavailable(f"{what}: {self.shown} {why}")

    def _refused(self, what: str) -> ServiceRefused:
        self._outage.failed("refuses access: wrong user or password, or missing rights")
        return ServiceRefused(f"{what}: {self.shown} refuses access: wrong user or password, or missing rights")

    def version(self) -> str:
        """The version that the server reports; "Nacos" if it reports none."""

        def ask(client: Any) -> Any:
            import json
            from urllib.error import HTTPError

            try:
                return json.loads(client._do_sync_req("/nacos/v1/console/server/state", timeout=TIMEOUT_S).read())
            except HTTPError as unknown:  # the server answers, but does not report its version
                if unknown.code == 403:
                    raise
                return None

        try:
            state = self.call("asking for the version", ask)
        except ServiceUnavailable:
            return "Nacos"
        return f"Nacos {state['version']}" if isinstance(state, dict) and state.get("version") else "Nacos"

    def _client(self) -> Any:
        client = getattr(self._of_thread, "client", None)
        if client is None:
            # An existing handler prevents the client from creating a log file. Below CRITICAL it logs all contents and
            # access tokens.
            logger = logging.getLogger("nacos")
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
            logger.setLevel(logging.CRITICAL)
            from nacos import NacosClient

            nowhere = tempfile.gettempdir()
            # The client splits addresses at every colon, also in IPv6 addresses. So the servers are set below.
            client = NacosClient(
                "replaced",
                namespace=self._namespace,
                username=self._user or None,
                password=self._password or None,
                logDir=nowhere,
            )
            client.server_list = [_host_port(one) for one in self._hosts.split(",")]
            client.current_server = client.server_list[0]
            client.set_options(
                default_timeout=TIMEOUT_S,
                no_snapshot=True,
                # Do not use the proxies in the environment. The client reads them unless it has a non-empty mapping:
                # this one has a scheme that no request uses.
                proxies={"none": ""},
                failover_base=f"{nowhere}/none",
                snapshot_base=f"{nowhere}/none",
            )
            self._of_thread.client = client
        return client


def _host_port(server: str) -> tuple[str, int]:
    """Host (IPv6 in brackets) and port of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`. The default port is 8848."""
    host, colon, port = server.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() and not server.endswith("]") else (server, _PORT)
