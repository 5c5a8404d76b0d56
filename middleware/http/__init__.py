"""HTTP between pods, in one place.

Serving: `server` (a pod's server), `access` (token and TLS), `problems` (errors as documents, and bodies as models),
`responses` (answers), `openapi` (the description of an interface).

Asking: `client` (one pod, in JSON, waiting for the answer), `fanout` (many pods at once, never waiting for one of them;
each by an `exchange`), `wire` (one pod, waiting, in bytes, with the least work per request). Answers in JSON:
`answers`. How long these wait and how much they take: `limits`, and `sockets` (when a connection to a machine that has
vanished is given up).

What every request says: `addressee` (the node that is meant), `epoch` (the controller that asks).
"""
