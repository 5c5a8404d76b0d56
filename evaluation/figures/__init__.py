"""The report's figures: `FIGURES` lists them, and each one is a function from `results.json`'s content to a Figure.

Modules: `comparison`, `learning`, `queues`, `durations` draw; `axes` has what they share. A function reads its own part of
the results only. `FigureKind.available` says whether that part has data; a figure without data is not drawn.
The functions do not use pyplot, because pyplot keeps every figure in a global list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from evaluation.fidelity import LATE_BOUND, MEDIAN_BOUND, P95_BOUND
from evaluation.figures.axes import Results
from evaluation.figures.comparison import outcome_shares, success_rates
from evaluation.figures.durations import decision_times, fidelity
from evaluation.figures.learning import learning_curve
from evaluation.figures.queues import offloading, queue_lengths


@dataclass(frozen=True)
class FigureKind:
    """A figure of the report: its file's name, what it shows, how it is read, its data's presence, its function."""

    name: str
    title: str
    reading: str
    available: Callable[[Results], bool]
    draw: Callable[[Results], Figure]


FIGURES = (
    FigureKind(
        "success-rates",
        "Which method gets the most tasks done",
        "A dot is the mean success rate over the traces, its line the interval of that mean, thin ticks the single traces. "
        "On the right the same methods are compared trace by trace with the best heuristic: an interval that does not "
        "touch zero is a difference that chance does not explain.",
        lambda results: bool(results["methods"]),
        success_rates,
    ),
    FigureKind(
        "learning-curve",
        "How the learned schedulers became what they are",
        "Left: checkpoints of offline training from the heuristic's logs. Middle: episodes on the running testbed, light, and "
        "their mean per update, bold; the dashed line is where offline training ended. Right: the final comparison. Each "
        "phase has traces of its own, so a jump from panel to panel is partly theirs; within a panel the methods meet the same.",
        lambda results: bool(results["learning_curve"]["offline"] or results["learning_curve"]["online"]),
        learning_curve,
    ),
    FigureKind(
        "outcome-shares",
        "What became of the tasks",
        "Every generated task has exactly one outcome, so each bar is all tasks of a method. Dropped: the deadline could not "
        "be met any more. Lost: a node had crashed or could not be reached.",
        lambda results: bool(results["methods"]),
        outcome_shares,
    ),
    FigureKind(
        "offloading",
        "Who sends to whom",
        "Each row is a node that received tasks from users and says in percent where it sent them; on the diagonal it kept "
        "them. Beside the row's number stands how much of that node its own tasks would need (above 100 % it must send).",
        lambda results: bool(results["offloading"]),
        offloading,
    ),
    FigureKind(
        "queue-lengths",
        "Where tasks wait",
        "Mean queue lengths per node at the beginning of each slot. Execution: at the executor, the running task included. "
        "Sending: on the node's links. Receiving: announced by others, not here yet.",
        lambda results: bool(results["queues"]),
        queue_lengths,
    ),
    FigureKind(
        "fidelity",
        "Does the testbed take the time that the model says",
        "Cumulative distributions of measured / modelled durations over all tasks of the experiment: a steep step at 1 is "
        f"a faithful testbed. The promise is a median error within {MEDIAN_BOUND:.0%} and a 95th percentile within "
        f"{P95_BOUND:.0%}, with at most {LATE_BOUND:.0%} of late tasks.",
        lambda results: any(
            stage["count"]
            for values in results["fidelity"].values()
            for stage in (values["transmission"], values["execution"])
        ),
        fidelity,
    ),
    FigureKind(
        "decision-times",
        "How long a decision takes",
        "From a node's tick until it has decided, in real time, answers of probed nodes included. It is part of every task's "
        "completion time. Without probes the 99th percentile should stay below 1 ms, with probes below 25 ms.",
        lambda results: any(values["decision_real_s"]["p50"] for values in results["methods"].values()),
        decision_times,
    ),
)
"""In the report's order."""
