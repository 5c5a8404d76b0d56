"""Sends JSON requests to one pod, and waits for the answers.

For many pods at the same time, use `fanout.py`. Edge nodes exchange messages with `wire.py`, which does less work per
request, and reads only the form of answers that pods send.

Concurrency: a `JsonClient` belongs to one thread.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, Self

from middleware.http.access import OPEN, Access
from middleware.http.answers import JsonAnswer, MalformedAnswer, json_object
from middleware.http.exchange import WireError
from middleware.http.limits import KEPT_S, LONGEST_BODY

_IDEMPOTENT: Final = ("GET", "PUT", "DELETE")
"""Methods whose request may be sent twice (RFC 9110, section 9.2.2)."""


class JsonClient:
    """A client of the pod at `address`. The first request opens a connection, which is kept until `close`.

    timeout_s: limit in real seconds for connecting, for sending, and for each part of an answer
    """

    def __init__(self, address: str, access: Access = OPEN, timeout_s: float = 10.0) -> None:
        self.address = address
        self._access = access
        self._timeout_s = timeout_s
        self._connection = access.connection(address, timeout_s)
        self._used_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float | None = None
    ) -> JsonAnswer:
        """Send a request and return the answer, which may be a refusal.

        The server may have closed a kept connection. A closed one is replaced before the request. If a kept connection
        fails during the request, an idempotent request is sent once more on a new connection.

        timeout_s: limit for this request, instead of the client's
        Raises OSError if there is no valid answer: TimeoutError, WireError for an answer that is not HTTP, or
        MalformedAnswer for one that is not a JSON object or is too large.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = self._access.headers() | ({} if content is None else {"Content-Type": "application/json"})
        is_kept = self._keeps_connection()
        self._set_timeout(self._timeout_s if timeout_s is None else timeout_s)
        try:
            status, answer = self._once(method, path, content, headers)
        except MalformedAnswer:
            raise
        except OSError as error:
            is_overdue = isinstance(error, TimeoutError) and error.errno is None  # ETIMEDOUT: the kernel closed it
            if is_overdue or not is_kept or method not in _IDEMPOTENT:
                raise
            status, answer = self._once(method, path, content, headers)
        return JsonAnswer(status, json_object(answer))

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        self._connection.close()

    def _keeps_connection(self) -> bool:
        """Whether there is a usable kept connection. Closes an unusable one."""
        kept = self._connection.sock
        if kept is None:
            return False
        readable = select.poll()
        readable.register(kept, select.POLLIN)
        # There is no open request: readable data are the end of the connection, or not an answer to this client.
        if time.monotonic() - self._used_s > KEPT_S or readable.poll(0):
            self.close()
            return False
        return True

    def _set_timeout(self, timeout_s: float) -> None:
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)

    def _once(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send once: (status, body) of the answer. Raises OSError, and then closes the connection."""
        is_whole = False
        try:
            self._connection.request(method, path, content, dict(headers))
            answer = self._connection.getresponse()
            if (answer.length or 0) > LONGEST_BODY:
                raise MalformedAnswer(f"malformed answer: it has {answer.length} bytes, more than {LONGEST_BODY}")
            # Read a body of known length without a limit, because only then is an early end an error.
            body = answer.read(None if answer.length is not None else LONGEST_BODY + 1)
            if len(body) > LONGEST_BODY:
                raise MalformedAnswer(f"malformed answer: it has more than {LONGEST_BODY} bytes")
            is_whole, self._used_s = True, time.monotonic()
            return answer.status, body
        except OSError:
            raise
        except HTTPException as error:
            raise WireError(f"the answer is incomplete, or is not HTTP: {error!r}") from error
        finally:
            if not is_whole:
                self.close()
