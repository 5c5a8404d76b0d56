"""Small networks and traces that can be checked by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from offload import Network, resolve_settings
from offload.tasks import Trace
from simulator.twin import OUTCOMES, Twin


def network(capacity_hz, rate_bps=1e6, failure_rate=0.0, link_failure_rate=0.0) -> Network:
    n = len(capacity_hz)
    return Network(
        np.array(capacity_hz, float), np.full(n, failure_rate), np.full(n, 0.5),
        np.full((n, n), rate_bps) if np.isscalar(rate_bps) else np.array(rate_bps, float),
        np.full((n, n), link_failure_rate),
    )  # fmt: skip


def trace(tasks, nodes, slots=None, slot_s=0.1, episode=0) -> Trace:
    """tasks: (slot, source, size_bits, cycles, deadline_s)."""
    keys = ("slot", "source", "size_bits", "cycles", "deadline_s")
    data = {"slot_s": slot_s, "episode": episode, "tasks": [dict(zip(keys, task, strict=True)) for task in tasks]}
    return Trace.from_json(data | ({} if slots is None else {"slots": slots}), nodes)


def outcomes(net, tasks, destinations, *, slots=None, failures=False, timing="end", seed=1, episode=0):
    """Per task: (outcome, transmission waiting, transmission, execution waiting, execution, end)."""
    made = trace(tasks, net.nodes, slots, episode=episode)
    settings = resolve_settings([{"seed": seed, "network": {"nodes": net.nodes}, "time": {"failure_timing": timing}}])
    given = np.full((1, *made.has_task.shape), -1)
    given[0][made.has_task] = destinations
    found = Twin([net], [made], settings, failures=failures).play_given(given)
    return [
        (
            str(OUTCOMES[found.outcome[place]]),
            *(
                float(getattr(found, name)[place])
                for name in ("transmission_waiting_s", "transmission_s", "execution_waiting_s", "execution_s", "end_s")
            ),
        )
        for place in zip(np.zeros(made.has_task.sum(), int), *np.nonzero(made.has_task), strict=True)
    ]


@st.composite
def worlds(draw):
    """A network, a trace, decisions and settings, from few different numbers: ties and exact deadlines occur."""
    n, slots = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    pick = rng.choice
    net = Network(
        pick([0.5e9, 1e9, 2e9], n), pick([0.0, 0.5, 3.0], n), np.full(n, 0.5), pick([0.5e6, 1e6, 2e6], (n, n)),
        pick([0.0, 0.5, 3.0], (n, n)),
    )  # fmt: skip
    shape = slots, n
    has_task = rng.random(shape) < draw(st.sampled_from([0.2, 0.7, 1.0]))
    trace = Trace(
        draw(st.integers(0, 1000)), 0.1, has_task,
        np.where(has_task, pick([1e5, 2e5, 4e5], shape), 0.0),
        np.where(has_task, pick([1e8, 2e8, 5e8], shape), 0.0),
        np.where(has_task, pick([0.3, 0.6, 1.0, 3.0], shape), 0.0),
    )  # fmt: skip
    timing = draw(st.sampled_from(["end", "event"]))
    made = resolve_settings([{"network": {"nodes": n}, "time": {"failure_timing": timing}}])
    return net, trace, rng.integers(0, n, (1, *shape)), made, draw(st.booleans())
