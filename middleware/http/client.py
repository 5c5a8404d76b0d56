"""Requests in JSON to one pod, by a thread that may wait for the answer.

Many pods at once: `fanout.py`. Nodes send one another messages by `wire.py`, which does less work per request, and
takes only answers as pods give them.

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
"""Methods whose request may be heard twice (RFC 9110, section 9.2.2)."""


class JsonClient:
    """A pod at `address`, over a connection that is made at the first request and kept until `close`.

    timeout_s: real seconds that connecting, sending, and each part of an answer may take
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

        A kept connection may have ended without a word. One that is seen to have ended is replaced. Where it breaks off
        amid the request, the request is sent once more on a new connection, if its method is idempotent.

        timeout_s: of this request, instead of the client's
        Raises OSError where no answer comes: TimeoutError; WireError for what is no HTTP; MalformedAnswer for what is
        no JSON object, or too large.
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
            is_overdue = isinstance(error, TimeoutError) and error.errno is None  # with ETIMEDOUT the kernel ended it
            if is_overdue or not is_kept or method not in _IDEMPOTENT:
                raise
            status, answer = self._once(method, path, content, headers)
        return JsonAnswer(status, json_object(answer))

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        self._connection.close()

    def _keeps_connection(self) -> bool:
        """Whether there is a kept connection that can be used; one that cannot is closed."""
        kept = self._connection.sock
        if kept is None:
            return False
        readable = select.poll()
        readable.register(kept, select.POLLIN)
        # Nothing was asked: what can be read is its end, or is none of our answers.
        if time.monotonic() - self._used_s > KEPT_S or readable.poll(0):
            self.close()
            return False
        return True

    def _set_timeout(self, timeout_s: float) -> None:
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)

    def _once(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """(status, body) of the answer. Raises OSError; the connection is closed then."""
        is_whole = False
        try:
            self._connection.request(method, path, content, dict(headers))
            answer = self._connection.getresponse()
            if (answer.length or 0) > LONGEST_BODY:
                raise MalformedAnswer(f"malformed answer: it has {answer.length} bytes, more than {LONGEST_BODY}")
            # A body of known length is read whole: only then is an early end an error.
            body = answer.read(None if answer.length is not None else LONGEST_BODY + 1)
            if len(body) > LONGEST_BODY:
                raise MalformedAnswer(f"malformed answer: it has more than {LONGEST_BODY} bytes")
            is_whole, self._used_s = True, time.monotonic()
            return answer.status, body
        except OSError:
            raise
        except HTTPException as error:
            raise WireError(f"the answer breaks off, or is none of HTTP: {error!r}") from error
        finally:
            if not is_whole:
                self.close()
