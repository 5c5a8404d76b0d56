"""Serves the controller's REST interface (docs/contracts.md) and its status page, with Flask on cheroot.

`app.py` makes the application and answers errors. Each other module has the routes of one subject, as a blueprint that
calls a `Control`.

Concurrency: cheroot's worker threads run the handlers. A handler that waits for the end of an episode occupies its
worker. `episodes.py` limits the number of these handlers.
"""
