"""Workloads behind `results/learning.json`: each module measures one thing, per seed, as plain numbers.

`python -m tests.bench.claims learning --section NAME` runs them; `tests/bench/learning_*.py` make figures of them.
"""
