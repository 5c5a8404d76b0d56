"""The node's HTTP interface (docs/contracts.md): Flask on cheroot, and its most frequent requests without Flask.

`app.py` dispatches requests, `server.py` makes the server, `problems.py` explains errors. Each other module has the
routes of one subject. Those that are asked several times in every slot are `Handlers` (`requests.py`): `ticks`,
`reports`, `messages`, `handovers`, `links`. The others are Flask's blueprints: `health`, `status`, `episodes`.

Concurrency: cheroot's worker threads run the handlers; a connection that has become a link gets a thread of its own
(`edgenode/receivers.py`).
"""
