"""Makes the testbed play episodes: asks the controller over REST, and reads the logs from the database.

`play` returns the log of a complete episode, or raises. It handles these cases itself:

* The controller is unavailable: the source asks again for up to `ABSENCE_S`. An episode that was lost is played again.
* An episode ended as mixed, incomplete or aborted: it is played again, at most `online.repeats` times.
* The controller is still playing an episode that a killed trainer asked for: the source waits for it, and uses it if it
  is the planned one.

Use it from one thread. A call blocks until the episode has ended. Its only state is the controller's address.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from middleware.database import Database, Run, read_episode_log
from middleware.http.access import OPEN, Access
from middleware.retrying import retry_while_unavailable
from offload.episodes import EpisodeError, EpisodeLog, EpisodePlan, EpisodeStatus, Verdict
from offload.settings import Settings
from trainer.controller_client import ABSENCE_S, ControllerClient, ControllerError
from trainer.played import completed

_WAIT_S = 10.0
_RETRY_S = 0.5
_MARGIN_S = 300.0

_logger = logging.getLogger(__name__)


class TestbedSource:
    """An `offload.EpisodeSource` that makes the running testbed play.

    controller_url, absence_s, access: as in `ControllerClient`
    takes_over: whether the source ends the controller's continuous arrivals when they block its episodes
    """

    __test__ = False  # not a test; pytest would collect it because of its name

    def __init__(
        self,
        controller_url: str | Callable[[], str],
        db: Database,
        run: Run,
        settings: Settings,
        absence_s: float = ABSENCE_S,
        access: Access = OPEN,
        takes_over: bool = False,
    ) -> None:
        self.controller = ControllerClient(controller_url, absence_s, access)
        self._takes_over = takes_over
        self._db = db
        self._run = run
        self._repeats = settings.online.repeats
        model_s = settings.time.slots * settings.time.slot_s + settings.tasks.deadline_s
        self._longest_s = 2 * model_s / settings.time.time_scale + _MARGIN_S

    def play(self, plan: EpisodePlan) -> EpisodeLog:
        """The log of the plan's complete episode, from the database if it is there, otherwise played now.

        Raises EpisodeError with the last reason when all tries failed (`online.repeats` repeats), ControllerError when
        the controller stays unavailable or rejects the plan.
        """
        reason = ""
        for attempt in range(self._repeats + 1):
            try:
                return self._attempt(plan)
            except EpisodeError as failed:
                reason = str(failed)
                _logger.warning("%s (try %d of %d)", reason, attempt + 1, self._repeats + 1)
        raise EpisodeError(
            f"the {plan.phase} episode of {plan.method} on trace {plan.trace} was tried {self._repeats + 1} times and "
            f"was never complete; the last time: {reason}"
        )

    def play_all(self, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        """Play the plans one after the other, because there is one fleet."""
        for plan in plans:
            yield self.play(plan)

    def _attempt(self, plan: EpisodePlan) -> EpisodeLog:
        give_up = time.monotonic() + self._longest_s
        number = completed(self._db, self._run, plan)
        while number is None:
            posted = self.controller.post_episode(plan)
            if posted is not None:
                self._await_complete(posted)
                # A request whose answer was lost may have been played too. A resumed run finds the first episode.
                number = completed(self._db, self._run, plan) or posted
                break
            if self._takes_over:
                self.controller.end_continuous()
            if time.monotonic() >= give_up:
                raise ControllerError(
                    "the controller is busy with other episodes: end continuous arrivals (DELETE /v1/serve), or wait"
                )
            time.sleep(_RETRY_S)
            number = completed(self._db, self._run, plan)
        found = number
        return retry_while_unavailable(lambda: read_episode_log(self._db, self._run, found))

    def _await_complete(self, number: int) -> None:
        give_up = time.monotonic() + self._longest_s
        while (state := self.controller.episode(number, _WAIT_S))["status"] == EpisodeStatus.OPEN:
            if time.monotonic() >= give_up:
                raise ControllerError(
                    f"episode {number} has not ended for {self._longest_s:g} s; see the controller's log"
                )
            time.sleep(0.01)  # if the controller does not wait, this loop must not take the nodes' processor time
        verdict = state.get("verdict") if state["status"] == EpisodeStatus.CLOSED else state["status"]
        if verdict != Verdict.COMPLETE:
            raise EpisodeError(f"episode {number} is {verdict}: {state.get('reason') or 'no reason is recorded'}")
