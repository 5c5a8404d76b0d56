"""The controller's REST interface (docs/contracts.md) and its status page: Flask on cheroot.

`app.py` makes the application and answers errors. Each other module has the routes of one subject, as a blueprint that
works on a `Control`.

Concurrency: cheroot's worker threads run the handlers. A handler that waits for an episode's end holds its worker:
`episodes.py` limits how many do.
"""
