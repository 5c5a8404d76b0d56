"""The client of the controller's REST interface that the trainer uses. All calls have a time-out.

A controller may be unavailable: its supervisor restarts it, or it answers 503 while the database is unavailable. The
client then repeats the call for up to `ABSENCE_S`. It also repeats a call whose answer is malformed, whatever its
status: another process may have the controller's address meanwhile.

Concurrency: one thread uses a client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from middleware.errors import ServiceUnavailable
from middleware.http.access import OPEN, Access
from middleware.http.answers import MalformedAnswer
from middleware.http.client import JsonClient
from middleware.retrying import RETRY_LIMIT_S
from offload.episodes import EpisodeError, EpisodePlan, EpisodeStatus
from offload.errors import UserError

ABSENCE_S = 60.0
"""Real seconds for which the controller may be unavailable before the run stops."""

_RETRY_S = 0.5
_NOTHING: Mapping[str, type] = {}


class ControllerError(UserError):
    """The controller was unavailable for too long, or refused a request. The message gives the controller's reason."""


class _RefusedError(Exception):
    """The controller answered with a problem."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class ControllerClient:
    """The client of the controller's REST interface.

    url: the controller's address, or a function that looks it up for every call; a restarted controller may have
        another port. The function raises ConnectionError while there is no address.
    absence_s: real seconds for which the controller may be unavailable
    """

    def __init__(self, url: str | Callable[[], str], absence_s: float = ABSENCE_S, access: Access = OPEN) -> None:
        self._url = url
        self._access = access
        self._absence_s = absence_s
        self._client: JsonClient | None = None

    def post_episode(self, plan: EpisodePlan) -> int | None:
        """Request an episode. Returns its number, or None while another episode is running.

        A request whose answer is lost may have opened the episode. The client posts it again all the same, and then
        gets None. Raises EpisodeError if the controller could not open the episode, ControllerError if it refuses the
        plan.
        """
        try:
            return int(self._call("POST", "/v1/episodes", plan.to_json(), needs={"episode": int})["episode"])
        except _RefusedError as refused:
            if refused.status == 409:
                return None
            if refused.status >= 500:
                raise EpisodeError(str(refused)) from None
            raise ControllerError(
                f"the controller refuses the {plan.phase} episode of {plan.method}, model {plan.scheduler.model}: "
                f"{refused}"
            ) from None

    def episode(self, number: int, wait_s: float) -> Mapping[str, Any]:
        """The state of an episode, after waiting up to `wait_s` real seconds for its end.

        The controller answers at once if too many requests wait there. The client then asks again.
        """
        until = time.monotonic() + wait_s
        try:
            while True:
                left_s = max(0.0, until - time.monotonic())
                path = f"/v1/episodes/{number}?wait_s={left_s:g}"
                state = self._call("GET", path, timeout_s=left_s + 10.0, needs={"status": str})
                if state["status"] != EpisodeStatus.OPEN or time.monotonic() + _RETRY_S >= until:
                    return state
                time.sleep(_RETRY_S)
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not report episode {number}: {refused}") from None

    def status(self) -> Mapping[str, Any]:
        """Nodes, episode, live settings, and whether arrivals are continuous."""
        try:
            return self._call("GET", "/v1/status", needs={"continuously": bool})
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not report its status: {refused}") from None

    def begin_continuous(self) -> None:
        """Start continuous arrivals."""
        try:
            self._call("POST", "/v1/serve", {})
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not start continuous arrivals: {refused}") from None

    def end_continuous(self) -> None:
        """End continuous arrivals. The episode that is running then is their last one."""
        try:
            self._call("DELETE", "/v1/serve")
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not end its continuous arrivals: {refused}") from None

    def activate(self, version: str) -> None:
        """Make a version the active model. The next episode opens when all nodes have applied it."""
        try:
            self._call("POST", f"/v1/models/{version}/activate", {})
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not activate model {version}: {refused}") from None

    def deploy(self, version: str, timeout_s: float = RETRY_LIMIT_S) -> None:
        """Make a version the active model, and wait until every node has acknowledged it.

        Raises ControllerError naming the nodes that have not acknowledged it within `timeout_s` real seconds.
        """
        self.activate(version)
        give_up = time.monotonic() + timeout_s
        while True:
            found = self._call("GET", "/v1/configuration", needs={"revision": int, "acknowledged": dict})
            behind = [
                node
                for node, revision in found["acknowledged"].items()
                if not isinstance(revision, int) or revision < found["revision"]
            ]
            if not behind:
                return
            if time.monotonic() >= give_up:
                raise ControllerError(
                    f"model {version} is active, but nodes {', '.join(sorted(behind))} have not acknowledged it within "
                    f"{timeout_s:g} s; their status says why"
                )
            time.sleep(_RETRY_S)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
        needs: Mapping[str, type] = _NOTHING,
    ) -> Mapping[str, Any]:
        """Send a request, and repeat it while the controller is unavailable or its answer is malformed.

        needs: keys that the answer must have, and their types

        Raises ControllerError after `absence_s`.
        """
        give_up = time.monotonic() + self._absence_s
        while True:
            try:
                answer = self._once(method, path, body, timeout_s)
                missing = [key for key, kind in needs.items() if not isinstance(answer.get(key), kind)]
                if missing:
                    raise MalformedAnswer(
                        f"malformed answer: `{missing[0]}` is missing, or not of type {needs[missing[0]].__name__}"
                    )
                return answer
            except _RefusedError as refused:
                if refused.status != 503:
                    raise
                trouble: Exception = refused
            except (OSError, ServiceUnavailable) as error:
                # Looking up the address may need the database or the registry.
                trouble = error
            if time.monotonic() >= give_up:
                raise ControllerError(
                    f"the controller has not answered {method} {path} for {self._absence_s:g} s; the last error: "
                    f"{_message(trouble)}. Run the same command to resume."
                )
            time.sleep(_RETRY_S)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Mapping[str, Any]:
        answer = self._client_now().ask(method, path, body, timeout_s)
        if answer.status >= 400:
            raise _RefusedError(answer.status, answer.detail)
        return answer.body

    def _client_now(self) -> JsonClient:
        """A client of the controller's current address. It keeps the connection while the address stays the same."""
        url = self._url() if callable(self._url) else self._url
        if self._client is None or self._client.address != url:
            if self._client is not None:
                self._client.close()
            self._client = JsonClient(url, self._access)
        return self._client


def _message(trouble: Exception) -> str:
    return str(trouble) or type(trouble).__name__
