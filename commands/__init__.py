"""The composition root: the `offload` command and the pods' entry points. May import every room, lazily, so that
`offload --help` is quick and a node never loads torch. Nobody imports it."""
