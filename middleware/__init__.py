"""The four services that pods share, as ports with embedded and production adapters, chosen by URL.

`database` (SQLite, MySQL): records. `storage` (folder, database blobs): models, buffers, reports. `registry`: who is
there. `configuration`: settings, and the live settings that change in a running system. Beside them what all pods' HTTP interfaces have in
common (`server`, `access`, `openapi`, `problems`),
and what happens when a service is unavailable or refuses (`errors`, `outages`, `patience`). Imports `offload` only.
"""
