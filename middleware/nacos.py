"""A Nacos server, as registry and configuration speak to it: the synchronous client of `nacos-sdk-python` 2.0, tamed.

`nacos://[user:password@]host:8848[,host2:8848][/namespace][?group=offload]`. It speaks Nacos' HTTP interface v1, which servers
1.x to 3.1 have (docs/operations.md says why this client). What it does beside that is kept from happening: log files in the
home directory, snapshots that are served when the server is away, tokens in the log, listeners in processes of their own.
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
"""By the servers' addresses: registry and configuration are often the same server, whose absence is told once."""


class NacosServer:
    """One or several servers, a namespace and a group. Thread-safe: each thread has a client of its own.

    Raises SettingsError for a URL that is none of this form, and where the package is missing.
    """

    def __init__(self, url: str, setting: str) -> None:
        form = NACOS.fullmatch(url)
        if form is None:
            raise SettingsError(
                f"services.{setting}: '{redacted(url)}' is not of the form nacos://[user:password@]host:8848[/namespace][?group=name]"
            )
        require_extra("nacos", "nacos", f"services.{setting}")
        credentials, self._hosts, namespace, group = form.groups()
        self._user, _, self._password = (unquote(part) for part in (credentials or "").partition(":"))
        self._namespace = namespace or ""
        self.group = group or DEFAULT_GROUP
        self.shown = redacted(url)
        self._of_thread = threading.local()
        self.absences = 0
        """How often it was away, as far as was noticed here: after each it may have lost what was written last."""
        self._outage = _outages.setdefault(self._hosts, OutageLog(_logger, f"Nacos at {self._hosts}"))

    def call(self, what: str, ask: Callable[[Any], _Result]) -> _Result:
        """What the server answers to `ask(client)`. Raises ServiceUnavailable, ServiceRefused."""
        from nacos import NacosException
        from nacos.exception import NacosRequestException

        began = time.monotonic()
        try:
            result = ask(self._client())
        except NacosRequestException as away:
            raise self._away(began, what, f"does not answer ({away})") from None
        except NacosException as refused:
            if "privilege" in str(refused):
                raise self._refused(what) from None
            raise self._away(began, what, f"cannot do it now ({refused})") from None
        except (OSError, ValueError) as broken:  # a connection that breaks off; an answer that is not JSON
            if getattr(broken, "code", None) == 403:
                raise self._refused(what) from None
            raise self._away(began, what, f"does not answer ({type(broken).__name__})") from None
        self._outage.answered_after(time.monotonic() - began)
        return result

    def _away(self, began: float, what: str, why: str) -> ServiceUnavailable:
        self.absences += 1
        self._outage.failed(why, since_s=began)
        return ServiceUnavailable(f"{what}: {self.shown} {why}")

    def _refused(self, what: str) -> ServiceRefused:
        self._outage.failed("refuses us: wrong user, password or rights")
        return ServiceRefused(f"{what}: {self.shown} refuses it: wrong user, password or rights")

    def version(self) -> str:
        """As the server says it itself; "Nacos" where it does not."""

        def ask(client: Any) -> Any:
            import json
            from urllib.error import HTTPError

            try:
                return json.loads(client._do_sync_req("/nacos/v1/console/server/state", timeout=TIMEOUT_S).read())
            except HTTPError as unknown:  # it does answer
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
            # A handler that is there already keeps the client from making a log file of its own; what it tells at lower
            # levels are all contents, and access tokens.
            logger = logging.getLogger("nacos")
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
            logger.setLevel(logging.CRITICAL)
            from nacos import NacosClient

            nowhere = tempfile.gettempdir()
            # The client itself takes an address apart at every colon, also at those of IPv6: it is given them below.
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
                # Proxies of the environment are for the outside world. With a mapping of its own, here of a scheme that no
                # request has, the client does not look for them; an empty one would not count.
                proxies={"none": ""},
                failover_base=f"{nowhere}/none",
                snapshot_base=f"{nowhere}/none",
            )
            self._of_thread.client = client
        return client


def _host_port(server: str) -> tuple[str, int]:
    """`host`, `host:port`, `[IPv6]` or `[IPv6]:port` with Nacos' own port by default; the host as it stands in a URL."""
    host, colon, port = server.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() and not server.endswith("]") else (server, _PORT)
