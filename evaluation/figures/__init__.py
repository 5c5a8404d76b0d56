"""The report's figures: `FIGURES` lists them, and each one is a function from `results.json`'s content to a Figure.

Modules: `comparison`, `learning`, `queues` and `durations` draw; `axes` has what they share. A function reads its own
part of the results only. `FigureKind.available` says whether that part has data; a figure without data is not drawn.
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
    """A figure of the report.

    name: of its files, without the extension; title, reading: what it shows, and how to read it
    available: whether the results have data for it; draw: makes the figure from the results
    """

    name: str
    title: str
    reading: str
    available: Callable[[Results], bool]
    draw: Callable[[Results], Figure]


FIGURES = (
    FigureKind(
        "success-rates",
        "Success rate of each method",
        "Left: a dot is the mean success rate over the traces, the line through it is the interval of that mean, and "
        "thin ticks are single traces. Right: the paired difference to the best heuristic. A difference whose interval "
        "does not contain zero is statistically significant.",
        lambda results: bool(results["methods"]),
        success_rates,
    ),
    FigureKind(
        "learning-curve",
        "Learning curve",
        "Left: checkpoints of offline training on the heuristic's logs. Middle: episodes on the running testbed "
        "(light) and their mean per update (bold); the dashed line is the level after offline training. Right: the "
        "final comparison. Each phase has its own traces, so a change between panels comes partly from the traces. "
        "Within a panel all methods play the same traces.",
        lambda results: bool(results["learning_curve"]["offline"] or results["learning_curve"]["online"]),
        learning_curve,
    ),
    FigureKind(
        "outcome-shares",
        "Outcomes of the tasks",
        "Every generated task has exactly one outcome, so each bar stands for all tasks of a method. Dropped: the task "
        "could no longer meet its deadline. Lost: a node had crashed or could not be reached.",
        lambda results: bool(results["methods"]),
        outcome_shares,
    ),
    FigureKind(
        "offloading",
        "Destinations of the tasks",
        "Each row is a node that received tasks from users. It shows in percent where the node sent them; the "
        "diagonal shows the tasks that it kept. The percentage beside the node's number is the load of its own tasks, "
        "as a share of its capacity (above 100 % it must send tasks to others).",
        lambda results: bool(results["offloading"]),
        offloading,
    ),
    FigureKind(
        "queue-lengths",
        "Queue lengths",
        "Mean queue lengths per node at the beginning of each slot. Execution: at the executor, including the running "
        "task. Sending: on the node's links. Receiving: announced by other nodes, but not arrived yet.",
        lambda results: bool(results["queues"]),
        queue_lengths,
    ),
    FigureKind(
        "fidelity",
        "Fidelity to the model",
        "Cumulative distributions of measured / modelled durations over all tasks of the experiment. The closer the "
        f"curve is to a step at 1, the better. Required: a median error within {MEDIAN_BOUND:.0%}, a 95th percentile "
        f"within {P95_BOUND:.0%}, and at most {LATE_BOUND:.0%} of late tasks.",
        lambda results: any(
            stage["count"]
            for values in results["fidelity"].values()
            for stage in (values["transmission"], values["execution"])
        ),
        fidelity,
    ),
    FigureKind(
        "decision-times",
        "Decision time",
        "The real time from a node's tick to its decision, including the answers of probed nodes. It is part of every "
        "task's completion time. The 99th percentile should be below 1 ms without probes, and below 25 ms with probes.",
        lambda results: any(values["decision_real_s"]["p50"] for values in results["methods"].values()),
        decision_times,
    ),
)
"""All figures, in the order of the report."""
