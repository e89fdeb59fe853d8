"""What the fleet is measured on: each module measures one thing, per seed, as plain numbers.

`python -m tests.bench.workloads.NAME [--seeds N]` prints one JSON line per seed.
"""
