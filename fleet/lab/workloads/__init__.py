"""What the fleet is measured on: each module measures one thing, per seed, as plain numbers.

`python -m fleet.lab.workloads.NAME [--seeds N]` prints one JSON line per seed.
"""
