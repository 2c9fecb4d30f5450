"""How fast operators, networks, training, data and evaluation are, beside their peers.

Each suite is a module with a function that measures it and returns a `Report`, which `run` prints
and writes; `page` makes docs/performance.md of those that are committed.
"""
