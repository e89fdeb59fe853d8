"""The simulator: thousands of chips on one machine, made of the parts that a deployment runs.

A scheduler keeps virtual time; nodes are `edge_node`'s own, and the coordinator's logic is the one that is served. What
is simulated is only what lies between them: time, links, people, faults.
"""

from fleet.sim.runs import Run, run

__all__ = ["Run", "run"]
