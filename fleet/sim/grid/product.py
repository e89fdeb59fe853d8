"""Learning jobs of the product on a VectorGrid: the coordinator's jobs, Flower's strategy, and real nodes, by calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from flwr.app import Context, Message
from reram_fleet.v1 import learning_pb2 as wire

from edge_node.agent.client_app import RoundRefusedError, reply_to, request_of
from edge_node.agent.node import Node
from edge_node.agent.rounds import OpenedRound, compute
from edge_node.errors import EdgeNodeError
from fleet.coordinator.unit import UnitOfWork
from fleet.learning.job_client import Attempt
from fleet.learning.server_app import run_attempt
from fleet.sim.grid.apps import NodeApp
from fleet.sim.grid.flower_adapter import raised
from fleet.sim.grid.vector_grid import CHUNK, VectorGrid


class NodeRounds(NodeApp):
    """Rounds of learning jobs on real nodes: `edge_node.agent.client_app` with a node axis.

    Each node checks its ticket, opens its state, seals its result and keeps its journal as on a device; what nodes that
    share an engine compute is one batch per chunk. A node that refuses a round answers with its reason.

    Parameters
    ----------
    nodes
        By Flower's ids.
    """

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        self._nodes = nodes

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> Sequence[Message]:
        """Run one round on the node of each message."""
        nodes = [self._nodes[message.metadata.dst_node_id] for message in messages]
        with ExitStack() as held:
            for node in nodes:
                held.enter_context(node.context.lock)
            opened = [self._opened(node, message) for node, message in zip(nodes, messages, strict=True)]
            computed = iter(compute([each for each in opened if isinstance(each, OpenedRound)]))
            replies = []
            for node, message, each in zip(nodes, messages, opened, strict=True):
                try:
                    if isinstance(each, Exception):
                        raise each
                    replies.append(reply_to(message, node.seal_round(each, next(computed))))
                except (EdgeNodeError, RoundRefusedError) as refusal:
                    replies.append(raised(message, refusal))
            return replies

    def _opened(self, node: Node, message: Message) -> OpenedRound | EdgeNodeError | RoundRefusedError:
        try:
            request = request_of(message)
            return node.open_round(request.ticket, request.sealed_state)
        except (EdgeNodeError, RoundRefusedError) as refusal:
            return refusal


@dataclass
class UnitAttempt:
    """One attempt of one job over a coordinator's units of work: `LearningService` by calls.

    Attributes
    ----------
    transaction
        Opens a unit of work, as `SteppedCoordinator.transaction` does.
    ended
        Called when the attempt is over: as a server does then, destroy the job's key.
    """

    transaction: Callable[[], AbstractContextManager[UnitOfWork]]
    job_id: str
    attempt: int
    ended: Callable[[], None]

    def get_job(self) -> wire.GetJobResponse:
        """Return what to do, from which state, and the job key."""
        with self.transaction() as unit:
            return unit.rounds.describe(self.job_id, self.attempt)

    def begin_round(self, round_number: int) -> Sequence[wire.RoundNode]:
        """Return the live nodes, each with its signed ticket for this round."""
        with self.transaction() as unit:
            return unit.rounds.begin_round(self.job_id, self.attempt, round_number).nodes

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        """Hand over the state after a round."""
        request = wire.ReportRoundRequest(
            job_id=self.job_id,
            attempt=self.attempt,
            round=round_number,
            sealed_state=sealed_state,
            metrics=metrics,
            node_ids=node_ids,
        )
        with self.transaction() as unit:
            unit.rounds.report_round(request)

    def finish(self, error: str = "") -> None:
        """Report that this attempt is over; `error` is empty on success."""
        with self.transaction() as unit:
            unit.rounds.finish(self.job_id, self.attempt, error)
        self.ended()


@dataclass
class _SkippedTime:
    """Time that passes only by waiting, in no time: in this process all that can come is there at once."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def play_attempt(client: Attempt, nodes: Mapping[int, Node], *, chunk: int = CHUNK) -> None:
    """Do what the Flower run of an attempt does, with the nodes that are up, by Flower's ids.

    Raises what `run_attempt` raises.
    """
    time = _SkippedTime()
    with VectorGrid(NodeRounds(nodes), nodes, chunk=chunk) as grid:
        run_attempt(grid, client, clock=time, sleep=time.sleep)
