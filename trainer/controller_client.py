"""The controller's REST interface, as far as the trainer uses it. One thread; always with a time-out.

A controller that is unavailable (restarted by its supervisor, or answering 503 while the database is unavailable) is
asked again for up to `ABSENCE_S`. So is one whose answer, of whatever status, is none of a controller's: something else
may have its address meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from middleware.errors import ServiceUnavailable
from middleware.http.access import OPEN, Access
from middleware.http.answers import MalformedAnswer
from middleware.http.client import JsonClient
from middleware.patience import PATIENCE_S
from offload.episodes import EpisodeError, EpisodePlan, EpisodeStatus
from offload.errors import UserError

ABSENCE_S = 60.0
"""For so many real seconds a controller may be away before the run stops."""

_RETRY_S = 0.5
_NOTHING: Mapping[str, type] = {}


class ControllerError(UserError):
    """The controller is away for too long, or refused a request; the message has its own words."""


class _RefusedError(Exception):
    """The controller answered with a problem."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class ControllerClient:
    """The controller's REST interface as the trainer uses it.

    url: its address, or a function that looks it up for every call (a restarted controller may have another
        port) and raises ConnectionError while there is none.
    """

    def __init__(self, url: str | Callable[[], str], absence_s: float = ABSENCE_S, access: Access = OPEN) -> None:
        self._url = url
        self._access = access
        self._absence_s = absence_s
        self._client: JsonClient | None = None

    def post_episode(self, plan: EpisodePlan) -> int | None:
        """Have an episode played; its number, or None while another one is being played.

        A request whose answer got lost may have been heard: it is posted again all the same, and comes back as "another
        one is being played". Raises EpisodeError when the controller could not open it, ControllerError when the plan
        is refused.
        """
        body = {
            "phase": plan.phase,
            "method": plan.method,
            "trace": plan.trace,
            "scheduler": plan.scheduler.name,
            "parameters": dict(plan.scheduler.parameters),
            "model": plan.scheduler.model,
        }
        try:
            return int(self._call("POST", "/v1/episodes", body, needs={"episode": int})["episode"])
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
        """State of an episode, after waiting up to `wait_s` for its end.

        The controller answers at once where many wait there: it is asked again then.
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
            raise ControllerError(f"the controller does not tell about episode {number}: {refused}") from None

    def status(self) -> Mapping[str, Any]:
        """Nodes, episode, live settings, and whether arrivals are continuous."""
        try:
            return self._call("GET", "/v1/status", needs={"continuously": bool})
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not tell its status: {refused}") from None

    def begin_continuous(self) -> None:
        """Begin continuous arrivals."""
        try:
            self._call("POST", "/v1/serve", {})
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not begin continuous arrivals: {refused}") from None

    def end_continuous(self) -> None:
        """End continuous arrivals; the episode that is being played then is the last one of them."""
        try:
            self._call("DELETE", "/v1/serve")
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not end its continuous arrivals: {refused}") from None

    def activate(self, version: str) -> None:
        """Make a version the active model. The next episode opens when all nodes have it."""
        try:
            self._call("POST", f"/v1/models/{version}/activate", {})
        except _RefusedError as refused:
            raise ControllerError(f"the controller does not activate model {version}: {refused}") from None

    def deploy(self, version: str, patience_s: float = PATIENCE_S) -> None:
        """Make a version the active model and wait until every node has acknowledged it.

        Raises ControllerError naming the nodes that have not within `patience_s` real seconds.
        """
        self.activate(version)
        give_up = time.monotonic() + patience_s
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
                    f"{patience_s:g} s; their status says why"
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
        """A request, repeated while nobody listens, or the answer breaks off, is malformed, or is 503 (starting, the
        database is unavailable).

        needs: keys that the answer has, and their types
        """
        give_up = time.monotonic() + self._absence_s
        while True:
            try:
                answer = self._once(method, path, body, timeout_s)
                missing = [key for key, kind in needs.items() if not isinstance(answer.get(key), kind)]
                if missing:
                    raise MalformedAnswer(
                        f"malformed answer: `{missing[0]}` is missing, or no {needs[missing[0]].__name__}"
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
                    f"the controller has not answered {method} {path} for {self._absence_s:g} s; the last trouble: "
                    f"{_words(trouble)}. Started again, the run goes on where it is."
                )
            time.sleep(_RETRY_S)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Mapping[str, Any]:
        answer = self._client_now().ask(method, path, body, timeout_s)
        if answer.status >= 400:
            raise _RefusedError(answer.status, answer.detail)
        return answer.body

    def _client_now(self) -> JsonClient:
        """Of the controller's address now, over the connection that is kept where that is the same as before."""
        url = self._url() if callable(self._url) else self._url
        if self._client is None or self._client.address != url:
            if self._client is not None:
                self._client.close()
            self._client = JsonClient(url, self._access)
        return self._client


def _words(trouble: Exception) -> str:
    return str(trouble) or type(trouble).__name__
