"""Rules and boards of a fleet's monitoring, as data: what Prometheus records and tells of, and what Grafana shows.

`python -m fleet.metrics` writes them into `deploy/`; `fleet report dashboard` draws the same panels. Every expression
is right with several targets of one coordinator, with several Prometheis whose series meet in one place, and when the
shards of nodes are cut anew: it takes the greatest of what is told twice, and never looks at `instance`.
"""
