"""Flower in this process: a Grid whose nodes are batches, and what runs on it.

`VectorGrid` is a `flwr.serverapp.Grid`, on which any ServerApp and stock strategy runs. Its nodes are a `NodeApp`: a
user's `ClientApp` (`ClientApps`), a `BatchedApp` over the node axis (`BatchedApps`), or the rounds of learning jobs on
real nodes (`fleet.sim.grid.product`).
"""

from fleet.sim.grid.apps import ClientApps, NodeApp
from fleet.sim.grid.batched import BatchCall, BatchedApp, BatchedApps, BatchReply
from fleet.sim.grid.vector_grid import VectorGrid

__all__ = ["BatchCall", "BatchReply", "BatchedApp", "BatchedApps", "ClientApps", "NodeApp", "VectorGrid"]
