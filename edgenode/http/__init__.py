"""The node's HTTP interface (docs/contracts.md): Flask on cheroot, and its most frequent requests without Flask.

`app.py` dispatches requests, `server.py` makes the server, and `problems.py` explains errors. Each other module has the
routes of one subject. Requests that come several times in every slot are `Handlers` (`requests.py`): `ticks`,
`reports`, `messages`, `handovers`, `links`. The others are Flask blueprints: `health`, `status`, `episodes`.

Concurrency: cheroot's worker threads run the handlers. A connection that has become a link gets its own thread
(`edgenode/receivers.py`).
"""
