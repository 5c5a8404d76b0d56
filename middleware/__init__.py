"""Connects pods to the four services that they share. Each is a port with several adapters; the URL chooses one.

* `database` (SQLite, MySQL): records
* `storage` (folder, database blobs, HDFS): models, buffers, reports
* `registry` (table, Nacos): addresses of the running pods
* `configuration` (table, file, Nacos): settings, and the live settings that change in a running system

`http` is what the HTTP interfaces of all pods share. `errors`, `outages` and `retrying` handle a service that is
unavailable or refuses a request. This package imports `offload` only.
"""
