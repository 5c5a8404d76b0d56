"""Stores files in HDFS, over WebHDFS (`hdfs+http://host:9870/path`).

* `hdfs+http://user@host:9870,host2:9870/path` names the user (`offload` by default) and several name nodes. The client
  finds the active one.
* `hdfs+https://…[?authority=FILE]` uses TLS. It trusts the system's authorities, or only those in the file (PEM).
* `user:password@` uses HTTP basic authentication, which only a gateway in front of HDFS needs.

A file is written under a temporary name, and then replaces the target in one atomic step. A step with a temporary error
is retried with growing pauses. This is safe, because no other process knows the temporary name. After `RETRY_LIMIT_S`,
the error is raised as ServiceUnavailable. Thread-safe: each thread has its own client.
"""

from __future__ import annotations

import builtins
import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from middleware.errors import ServiceRefused, ServiceUnavailable, ValueRefused
from middleware.extras import require_extra
from middleware.home import expanded
from middleware.outages import OutageLog
from middleware.storage.port import checked_path
from offload.addresses import HDFS, redacted
from offload.settings import SettingsError

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 5.0
"""Limit for a single answer. By default, the `hdfs` package would wait for a frozen name node forever."""
RETRY_LIMIT_S = 20.0
"""Real seconds of retries. A name node returns a dead data node for about 15 s before it detects the failure."""

_USER = "offload"
_ASIDE = ".aside-"
_VERSION = "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_LOG_OUTAGE_AFTER_S = 1.0
"""Real seconds of failures before an outage is logged. A data node that just died costs only one attempt."""
_FINAL = {"AccessControlException", "SecurityException", "FileNotFoundException", "IllegalArgumentException"}
"""Permanent errors of HDFS: a retry would fail again."""

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class HdfsStorage:
    """Files below a folder of HDFS. Raises SettingsError for a URL of another form."""

    def __init__(self, url: str, retry_limit_s: float = RETRY_LIMIT_S) -> None:
        form, self._shown = HDFS.fullmatch(url), redacted(url)
        if form is None:
            raise SettingsError(
                f"services.storage: '{self._shown}' is not of the form hdfs+http://[user@]host:9870[,host2:9870]/path"
            )
        require_extra("hdfs", "hdfs", "services.storage")
        scheme, credentials, hosts, root, authority = form.groups()
        self._authority = None if authority is None else str(expanded(authority, "services.storage"))
        if self._authority and not (scheme == "https" and Path(self._authority).is_file()):
            raise SettingsError(
                f"services.storage: '{self._shown}': authority must be an existing PEM file, and needs hdfs+https://; "
                f"got {self._authority}"
            )
        user, _, self._password = (unquote(part) for part in (credentials or _USER).partition(":"))
        self._user = user or _USER
        self._name_nodes = ";".join(f"{scheme}://{host}" for host in hosts.split(","))
        self._root = (root or "/").rstrip("/")
        self._retry_limit_s = retry_limit_s
        self._of_thread = threading.local()
        self._outage = OutageLog(_logger, f"the storage {self._shown}")
        # The client logs every request at INFO.
        logging.getLogger("hdfs").setLevel(logging.WARNING)

    def write(self, path: str, content: bytes) -> None:
        """See `Storage.write`."""
        target = checked_path(path)
        aside = f"{target.rpartition('/')[0]}/{_ASIDE}{uuid.uuid4().hex}".lstrip("/")
        try:
            self._again(f"writing {path}", lambda _: self._create(aside, content))
            self._again(f"writing {path}", lambda first: self._rename(aside, target, first))
        except BaseException:
            with suppress(Exception):  # the first error is the important one
                self._client().delete(self._whole(aside))
            raise

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        whole = self._whole(checked_path(path))

        def attempt(_: bool) -> bytes:
            with self._client().read(whole) as reader:
                content: bytes = reader.read()
            return content

        return self._again(f"reading {path}", attempt)

    def exists(self, path: str) -> bool:
        """See `Storage.exists`."""
        whole = self._whole(checked_path(path))
        try:
            status = self._again(f"looking for {path}", lambda _: self._client().status(whole))
        except FileNotFoundError:
            return False
        return bool(status["type"] == "FILE")

    def list(self, folder: str) -> builtins.list[str]:
        """See `Storage.list`."""
        folder = checked_path(folder)
        try:
            below = self._again(f"listing {folder}", lambda _: self._client().list(self._whole(folder), status=True))
        except FileNotFoundError:
            return []
        found = []
        for name, status in below:
            if status["type"] == "DIRECTORY":
                found += self.list(f"{folder}/{name}")
            elif name and not name.startswith(_ASIDE):
                found.append(f"{folder}/{name}")
        return sorted(found)

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        whole = self._whole(checked_path(path))
        self._again(f"deleting {path}", lambda _: self._client().delete(whole))

    def describe(self) -> str:
        """See `Storage.describe`. A gateway may hide the version."""
        from requests import RequestException

        self._again("asking HDFS", lambda _: self._client().status("/"))
        client = self._client()
        for name_node in client.urls:
            with suppress(RequestException, ValueError, LookupError):
                answer = client._session.get(f"{name_node}{_VERSION}", timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
                return f"HDFS {answer.json()['beans'][0]['SoftwareVersion']}"
        return "HDFS"

    def _create(self, path: str, content: bytes) -> None:
        self._client().write(self._whole(path), data=content, overwrite=True)

    def _rename(self, aside: str, target: str, first: bool) -> None:
        # `Client.rename` cannot replace an existing file.
        from hdfs.util import HdfsError

        try:
            self._client()._rename(self._whole(aside), destination=self._whole(target), renameoptions="OVERWRITE")
        except HdfsError as refused:
            # An earlier attempt whose answer was lost has renamed it: no other process knows the temporary name.
            if first or refused.exception != "FileNotFoundException":
                raise

    def _again(self, what: str, attempt: Callable[[bool], _Result]) -> _Result:
        """Retry `attempt` until it succeeds or `retry_limit_s` ends. Its argument is whether this is the first attempt.

        Raises FileNotFoundError or ServiceRefused for a permanent error of HDFS, otherwise ServiceUnavailable.
        """
        from hdfs.util import HdfsError
        from requests import RequestException
        from requests.exceptions import SSLError
        from urllib3.exceptions import HTTPError

        began, pause_s, first = time.monotonic(), _FIRST_PAUSE_S, True
        while True:
            try:
                result = attempt(first)
            except HdfsError as refused:
                if refused.exception in _FINAL:
                    self._outage.answered()
                    raise _final(refused, what, self._shown) from None
                trouble: Exception = refused
            except SSLError as untrusted:
                raise ServiceRefused(
                    f"{what} in {self._shown}: TLS failed ({_inner(untrusted)}); "
                    "name the file with the trusted certificates in ?authority=FILE"
                ) from None
            except (RequestException, HTTPError) as broken:
                trouble = broken
            else:
                self._outage.answered_after(time.monotonic() - began)
                return result
            if time.monotonic() - began >= _LOG_OUTAGE_AFTER_S:
                self._outage.failed(_message(trouble), since_s=began, answers=self._name_node_answers(trouble))
            if time.monotonic() - began + pause_s > self._retry_limit_s:
                raise ServiceUnavailable(
                    f"{what}: {self._shown} has been unavailable for {time.monotonic() - began:.0f} s "
                    f"({_message(trouble)})"
                ) from trouble
            _logger.debug("%s: %s; trying again", what, trouble)
            time.sleep(pause_s)
            pause_s, first = min(2 * pause_s, _LONGEST_PAUSE_S), False

    def _name_node_answers(self, trouble: Exception) -> bool:
        """Whether only a data node is unavailable, or the name node refuses (in safe mode, or without data nodes).

        Other requests may succeed meanwhile. They do not end the outage.
        """
        from hdfs.util import HdfsError

        request = getattr(trouble, "request", None)
        asked = "" if request is None else str(request.url)
        return isinstance(trouble, HdfsError) or (
            asked != "" and not asked.startswith(tuple(f"{node}/" for node in self._name_nodes.split(";")))
        )

    def _whole(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _client(self) -> Any:
        client = getattr(self._of_thread, "client", None)
        if client is None:
            from hdfs import InsecureClient
            from requests import Session

            session = Session()
            session.trust_env = False  # ignore proxies in the environment and passwords in ~/.netrc
            if self._authority:
                session.verify = self._authority
            if self._password:
                session.auth = (self._user, self._password)
            timeout = CONNECT_TIMEOUT_S, READ_TIMEOUT_S
            client = InsecureClient(self._name_nodes, user=self._user, timeout=timeout, session=session)
            self._of_thread.client = client
        return client


def _final(refused: Any, what: str, url: str) -> Exception:
    message = f"{what} in {url}: {str(refused).splitlines()[0]}"
    if refused.exception == "FileNotFoundException":
        return FileNotFoundError(message)
    if refused.exception == "IllegalArgumentException":
        return ValueRefused(message)
    return ServiceRefused(message)


def _inner(error: BaseException) -> str:
    """The message of OpenSSL, without those of the layers above."""
    inner = error
    while (below := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)) is not None:
        if not isinstance(below, BaseException):
            break
        inner = below
    return str(getattr(inner, "verify_message", "") or inner)


def _message(trouble: Exception) -> str:
    """The first line of HDFS' message. For a connection error, only its type, because its text is long."""
    from hdfs.util import HdfsError

    return str(trouble).splitlines()[0] if isinstance(trouble, HdfsError) and str(trouble) else type(trouble).__name__
