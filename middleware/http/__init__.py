"""HTTP between pods, in one place.

Serving: `server` (a pod's server), `access` (token and TLS), `problems` (errors as documents, and bodies as models),
`openapi` (the description of an interface). Asking: `exchange` (many pods at once, never waiting for one of them), `wire` (one
pod, over a kept connection), `sockets` (when a connection to a machine that has vanished is given up). What every request
says: `addressee` (the node that is meant), `epoch` (the controller that asks).
"""
