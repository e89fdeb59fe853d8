"""The learning plane: federated rounds over Flower.

Flower is transport and aggregation, never the system of record. What the coordinator uses:

- `superlink.SuperLink`: the embedded, supervised `flower-superlink`, or one that runs elsewhere
- `proxy.FleetProxy`: the only way by which nodes reach it
- `flower_command`: one learning job = one Flower run: `submit`, `stop`, `run_status`

`server_app` is the ServerApp that such a run starts in a process of its own; `job_grid.JobGrid` is its seam to Flower's
stock strategies. Importing this package loads none of them.
"""
