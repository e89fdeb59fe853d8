"""Learning jobs of the product on a VectorGrid: the coordinator's jobs, Flower's strategy, and real nodes, by calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

from flwr.app import Context, Message
from reram_fleet.v1 import learning_pb2 as wire

from edge_node.agent.client_app import RoundRefusedError, reply_to, request_of
from edge_node.agent.node import Node
from edge_node.agent.rounds import OpenedRound, compute
from edge_node.errors import EdgeNodeError, EngineError
from edge_node.recognition.training.rounds import RoundResult
from fleet.coordinator.unit import UnitOfWork
from fleet.learning.job_client import Attempt
from fleet.learning.server_app import run_attempt
from fleet.sim.grid.apps import Chunk, ChunkPool, NodeApp
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
        with ExitStack() as held:
            opened = self.open(messages, held)
            return self.seal(messages, opened, compute(_rounds(opened)))

    def open(self, messages: Sequence[Message], held: ExitStack) -> Sequence[OpenedRound | Exception]:
        """Open the round of each message's node, or say why not; what is held until then is the node's lock."""
        nodes = [self._nodes[message.metadata.dst_node_id] for message in messages]
        for node in nodes:
            held.enter_context(node.context.lock)
        return [self._opened(node, message) for node, message in zip(nodes, messages, strict=True)]

    def seal(
        self,
        messages: Sequence[Message],
        opened: Sequence[OpenedRound | Exception],
        computed: Iterable[RoundResult | EngineError],
    ) -> list[Message]:
        """Return the reply of each node, of which those that opened a round have computed it."""
        results, replies = iter(computed), []
        for message, each in zip(messages, opened, strict=True):
            try:
                if isinstance(each, Exception):
                    raise each
                sealed = self._nodes[message.metadata.dst_node_id].seal_round(each, next(results))
                replies.append(reply_to(message, sealed))
            except (EdgeNodeError, RoundRefusedError) as refusal:
                replies.append(raised(message, refusal))
        return replies

    def _opened(self, node: Node, message: Message) -> OpenedRound | EdgeNodeError | RoundRefusedError:
        try:
            request = request_of(message)
            return node.open_round(request.ticket, request.sealed_state)
        except (EdgeNodeError, RoundRefusedError) as refusal:
            return refusal


class RoundsUnderWay(ChunkPool):
    """The same rounds with several chunks under way: while one is computed by others, the next is opened.

    Parameters
    ----------
    chunks
        How many.
    """

    def __init__(self, rounds: NodeRounds, chunks: int) -> None:
        self._rounds, self._chunks = rounds, chunks

    def map(self, chunks: Iterable[Chunk]) -> Iterator[Sequence[Message]]:
        """Run chunks, and yield their replies in turn."""
        with ExitStack() as held, ThreadPoolExecutor(self._chunks) as threads:
            under_way: deque[Callable[[], Sequence[Message]]] = deque()
            for messages, _ in chunks:
                if len(under_way) == self._chunks:
                    yield under_way.popleft()()
                opened = self._rounds.open(messages, held)
                computed = threads.submit(compute, _rounds(opened))
                under_way.append(partial(self._sealed, messages, opened, computed))
            while under_way:
                yield under_way.popleft()()

    def _sealed(
        self,
        messages: Sequence[Message],
        opened: Sequence[OpenedRound | Exception],
        computed: Future[list[RoundResult | EngineError]],
    ) -> Sequence[Message]:
        return self._rounds.seal(messages, opened, computed.result())


def _rounds(opened: Sequence[OpenedRound | Exception]) -> list[OpenedRound]:
    return [each for each in opened if isinstance(each, OpenedRound)]


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


def play_attempt(client: Attempt, nodes: Mapping[int, Node], *, chunk: int = CHUNK, under_way: int = 1) -> None:
    """Do what the Flower run of an attempt does, with the nodes that are up, by Flower's ids.

    Raises what `run_attempt` raises.

    Parameters
    ----------
    under_way
        Chunks that are computed at once, if engines have others compute.
    """
    time, rounds = _SkippedTime(), NodeRounds(nodes)
    app = RoundsUnderWay(rounds, under_way) if under_way > 1 else rounds
    with VectorGrid(app, nodes, chunk=chunk) as grid:
        run_attempt(grid, client, clock=time, sleep=time.sleep)
