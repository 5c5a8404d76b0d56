"""Runs a fleet with continuous arrivals, shows its state, and changes its live settings.

Commands: `offload serve`, `offload status`, `offload set`.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.recorded import DatabaseUrl
from offload.errors import UserError

_TIMEOUT_S = 10.0
_UNKNOWN_S, _LOOK_S = 3.0, 0.5
RunName = Annotated[
    str | None, typer.Option("--run", help="The run's name. Needed only if several controllers are running.")
]


class NoController(UserError):
    """No controller answers, or several do and none is chosen."""


def serve(
    preset: Annotated[str | None, typer.Option(help="A named experiment: demo, paper-testbed, …")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of settings. Edits of its live settings are applied.")
    ] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value. Repeatable.")] = None,
    run: Annotated[str | None, typer.Option(help="The run's name.")] = None,
) -> None:
    """Keep a local fleet running with continuous arrivals, until Ctrl-C."""
    from commands.checking import check_settings
    from commands.local import DATA_DIR, ControllerFailed, LocalController, open_run
    from commands.places import check_places
    from middleware.configuration import load_settings
    from middleware.errors import ServiceError
    from middleware.retrying import log_refusal

    console = Console()
    # Warnings only after the run is opened: until then, the error that ends the command is enough.
    logging.basicConfig(level=logging.ERROR)
    settings = load_settings(preset, config, sets or [])
    if config is not None and settings.services.configuration == "file:":
        watched = settings.services.model_copy(update={"configuration": f"file:{config}"})
        settings = settings.model_copy(update={"services": watched})
    check_settings(settings)
    check_places(settings.services, ("the data of processes", DATA_DIR))
    name = run or f"serve-{config.stem if config else preset or 'default'}"
    opened = open_run(settings, name)
    logging.getLogger().setLevel(logging.WARNING)
    with LocalController(opened, DATA_DIR / name, continuously=True) as controller:
        with console.status(f"starting {settings.network.nodes} edge nodes"):
            address = controller.address()
        console.print(f"Run [bold]{name}[/] is served at [bold]{address}/[/] (a page for browsers); Ctrl-C ends it.")
        console.print("In another terminal: `offload status`, `offload set scheduler.name=rda`")
        while controller.failure is None:
            time.sleep(0.5)
            try:
                now = controller.address()
            except ServiceError as error:
                log_refusal(error, "looking for the controller")
                continue  # the controller, too, waits until the registry is available again
            if now != address:
                address = now
                console.print(f"the controller was restarted; it answers at {address}/")
        raise ControllerFailed(controller.failure)


def status(run: RunName = None, database: DatabaseUrl = None) -> None:
    """Show nodes, queues, scheduler and success rate of a running fleet."""
    state = call_controller(find_controller(run, database), "GET", "/v1/status")
    console = Console()
    live, last = state["live_settings"]["scheduler"], state["last_episodes"]
    rate = "–" if last["success_rate"] is None else f"{last['success_rate']:.3f}"
    model = f", model {live['model']}" if live["model"] else ""
    console.print(
        f"Run [bold]{state['run']}[/]: scheduler [bold]{live['name']}[/]{model}, revision {state['revision']}"
    )
    episode = state["episode"]
    if episode:
        console.print(
            f"Episode {episode['episode']} ({episode['method']}): slot {episode['slot'] or 0} of {episode['slots']}"
        )
    if state["trouble"]:
        console.print(f"[red]No episode can be opened:[/] {state['trouble']}")
    if state["fallback"]:
        console.print(f"[red]Fallback scheduler {live['name']} is active:[/] {state['fallback']}")
    schedulers = f" ({', '.join(last['schedulers'])})" if last["episodes"] else ""
    console.print(f"Success rate of the last {last['episodes']} episodes: {rate}{schedulers}")
    on_kubernetes = any(node["pod"] for node in state["nodes"])
    table = Table(
        caption="execute, send, receive: lengths of the queues; λ: arrival probability", caption_justify="left"
    )
    for column in (
        "node",
        "scheduler",
        "GHz",
        "λ",
        "execute",
        "send",
        "receive",
        "revision",
        "heard",
        *(["pod"] if on_kubernetes else []),
    ):
        table.add_column(column, justify="right", overflow="fold")
    for node in state["nodes"]:
        queues = node["queues"] or {}
        table.add_row(
            str(node["node"]),
            node["problem"] or node["outbox_problem"] or (node["scheduler"] or "starting")
            if node["alive"]
            else "[red]down[/]",
            f"{node['capacity_hz'] / 1e9:g}",
            f"{node['arrival_probability']:.2f}",
            *(str(queues.get(key, "–")) for key in ("execution", "sending", "receiving")),
            str(node["revision"] or "–"),
            "–" if node["heartbeat_age_s"] is None else f"{node['heartbeat_age_s']:.1f} s",
            *([_pod(node["pod"])] if on_kubernetes else []),
        )
    console.print(table)
    for node in state["nodes"]:
        if node["clock"]:
            console.print(f"[red]{node['clock']}[/]")


def _pod(pod: dict[str, Any] | None) -> str:
    """The state of a node's pod in Kubernetes: `ready, restarts: 1`."""
    if pod is None:
        return "[red]none[/]"
    parts = ["terminating" if pod["leaving"] else "ready" if pod["ready"] else pod["phase"]]
    parts += [f"restarts: {pod['restarts']}"] if pod["restarts"] else []
    parts += [f"[red]{pod['reason']}[/]"] if pod["reason"] else []
    return ", ".join(parts)


def set_(
    changes: Annotated[
        list[str], typer.Argument(help="Live settings: scheduler.name=rda, scheduler.parameters.d=3, log_level=DEBUG")
    ],
    run: RunName = None,
    database: DatabaseUrl = None,
) -> None:
    """Change live settings of a running fleet, and wait until every node has applied them."""
    from middleware.configuration.layers import command_line_layer

    layer = command_line_layer(changes)
    address = find_controller(run, database)
    revision = call_controller(
        address, "PATCH", "/v1/configuration", {"live_settings": layer.values, "by": "offload set"}
    )["revision"]
    waiting: list[str] = []
    until = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < until:
        acknowledged = call_controller(address, "GET", "/v1/configuration")["acknowledged"]
        waiting = [node for node, seen in acknowledged.items() if seen < revision]
        if not waiting:
            state = call_controller(address, "GET", "/v1/status")
            if state["fallback"] and state["revision"] > revision:
                instead = state["live_settings"]["scheduler"]["name"]
                raise NoController(
                    f"revision {revision} was rejected; the fallback scheduler {instead} is active: {state['fallback']}"
                )
            typer.echo(f"revision {revision} is applied on all {len(acknowledged)} nodes")
            return
        time.sleep(0.2)
    problems = [one["problem"] for one in call_controller(address, "GET", "/v1/status")["nodes"] if one["problem"]]
    raise NoController(
        f"revision {revision} is written, but nodes {', '.join(waiting)} have not acknowledged it: "
        f"{problems[0] if problems else 'they do not answer'}; see `offload status`"
    )


def find_controller(run: str | None, database_url: str | None) -> str:
    """The address of the live controller of this run. Without a run: of OFFLOAD_RUN, or of the only live controller.

    Raises NoController if none or more than one is live.
    """
    from commands.places import check_database
    from middleware.configuration import load_settings
    from middleware.database import Database, sqlite_file
    from middleware.registry import CONTROLLER, open_registry

    run = run or os.environ.get("OFFLOAD_RUN")
    no_controller = NoController("no controller is running here; start one with `offload serve --preset demo`")
    services = load_settings(sets=[f"services.database={database_url}"] if database_url else []).services
    path = sqlite_file(services.database)
    if path is not None and not path.exists():
        raise no_controller  # connecting would create the file
    check_database(services.database)
    database = Database.connect(services.database)
    database.check_schema()
    registry = open_registry(services.registry, database)
    until = time.monotonic() + _UNKNOWN_S
    while not (found := [one for one in registry.instances(CONTROLLER, run) if one.alive()]):
        # Nacos stores instants of other machines' clocks: only the next heartbeat shows that an instance is alive.
        if services.registry == "database:" or time.monotonic() > until:
            break
        time.sleep(_LOOK_S)
    database.close()
    if len(found) == 1:
        return found[0].address
    if not found:
        raise no_controller
    raise NoController(f"several controllers are running: {', '.join(one.run for one in found)}; choose one with --run")


def call_controller(address: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send a request to the controller, and return its answer as plain data.

    Raises NoController if it does not answer, or with its message if it rejects the request.
    """
    from middleware.http.access import Access
    from middleware.http.answers import MalformedAnswer
    from middleware.http.client import JsonClient

    try:
        with JsonClient(address, Access.read(os.environ), _TIMEOUT_S) as client:
            answer = client.ask(method, path, body)
    except MalformedAnswer as malformed:
        raise NoController(f"{address} is not a controller: {method} {path} returned a {malformed}") from None
    except OSError as error:
        raise NoController(f"the controller at {address} does not answer: {error!r}") from None
    if answer.status >= 400:
        raise NoController(answer.detail)
    return answer.body
