"""Implements HTTP between pods: server, clients, authentication and limits.

Server side:

* `server`: a pod's HTTP server; `access`: token and TLS; `address`: where it listens and is reached
* `problems`: errors as problem details, and request bodies as models; `responses`: JSON responses
* `openapi`: the description of an interface

Client side:

* `client`: one pod, JSON, waits for the answer; `answers`: JSON answers
* `fanout`: many pods at the same time, never waits for a single one; `exchange`: its connection to one pod
* `wire`: one pod, bytes, waits for the answer, least work per request

Both: `limits` (timeouts and sizes), `sockets` (closing a connection to a lost machine), `addressee` (header with the
target node), `epoch` (header with the controller's epoch).
"""
