"""The testbed as a source of episodes: asks the controller to play them over REST, reads their logs from the database.

`play` comes back with a complete episode or raises. In between it bears with
* a controller that is away: it is asked again for up to `ABSENCE_S`, and plays an episode anew that it lost;
* an episode that came out mixed, incomplete or aborted: played again, at most `online.repeats` times;
* an episode that is still being played when it asks, left by a trainer that was killed: waited for, and taken when it is
  the planned one.

One thread; a call blocks for as long as the episode takes. No state besides the controller's address.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from middleware.database import Database, Run, read_episode_log
from middleware.http.access import OPEN, Access
from middleware.patience import patiently
from offload.episodes import EpisodeError, EpisodeLog, EpisodePlan, EpisodeStatus, Verdict
from offload.settings import Settings
from trainer.controller_client import ABSENCE_S, ControllerClient, ControllerError
from trainer.played import completed

_WAIT_S = 10.0
_RETRY_S = 0.5
_MARGIN_S = 300.0

_logger = logging.getLogger(__name__)


class TestbedSource:
    """An `offload.EpisodeSource` that has the running testbed play. `controller_url` as in `ControllerClient`.

    takes_over: ends the controller's continuous arrivals where they are in the way
    """

    __test__ = False  # not a test, whatever pytest makes of the name

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
        """Have one episode played to a complete end, or find it complete in the database; its log.

        Raises EpisodeError with the last reason when it did not come out complete as often as `online.repeats` allows,
        ControllerError when the controller stays away or refuses the plan.
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
            f"never came out complete; the last time: {reason}"
        )

    def play_all(self, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        """One after the other: there is one fleet."""
        for plan in plans:
            yield self.play(plan)

    def _attempt(self, plan: EpisodePlan) -> EpisodeLog:
        give_up = time.monotonic() + self._longest_s
        number = completed(self._db, self._run, plan)
        while number is None:
            posted = self.controller.post_episode(plan)
            if posted is not None:
                self._await_complete(posted)
                # A request whose answer was lost may have been played as well: a resumed run finds the first one.
                number = completed(self._db, self._run, plan) or posted
                break
            if self._takes_over:
                self.controller.end_continuous()
            if time.monotonic() >= give_up:
                raise ControllerError(
                    "the controller is busy with other episodes; end its continuous arrivals (DELETE /v1/serve), or wait"
                )
            time.sleep(_RETRY_S)
            number = completed(self._db, self._run, plan)
        found = number
        return patiently(lambda: read_episode_log(self._db, self._run, found))

    def _await_complete(self, number: int) -> None:
        give_up = time.monotonic() + self._longest_s
        while (state := self.controller.episode(number, _WAIT_S))["status"] == EpisodeStatus.OPEN:
            if time.monotonic() >= give_up:
                raise ControllerError(
                    f"episode {number} has not ended for {self._longest_s:g} s; see the controller's log"
                )
            time.sleep(0.01)  # were the controller not to wait, this loop should not burn the nodes' cores
        verdict = state.get("verdict") if state["status"] == EpisodeStatus.CLOSED else state["status"]
        if verdict != Verdict.COMPLETE:
            raise EpisodeError(f"episode {number} is {verdict}: {state.get('reason') or 'no reason is recorded'}")
