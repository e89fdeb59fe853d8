"""VectorGrid: a Flower Grid whose nodes run as batches, in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, starmap
from typing import Any, Self

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid

from fleet.sim.grid.apps import Chunk, ChunkPool, NodeApp
from fleet.sim.grid.batched import PARTITION
from fleet.sim.grid.flower_adapter import run_of, stamp, task_of_run, unavailable

#: Nodes of a chunk. Their weights and data stay in the cache of a core, where one batch of thousands does not.
CHUNK = 50


class VectorGrid(Grid):
    """A Grid of nodes that one `NodeApp` runs, in chunks of the nodes that were sent something; or a pool of them.

    Used in a `with` statement: within it this process is the task of the run. Replies come sorted by node, and what is
    in a chunk depends on who was sent something only, so the same messages give the same replies, to the bit. Nothing
    is serialised: apps get the very record that was sent, and must not change it.

    Parameters
    ----------
    nodes
        How many, with the ids 1 to N, or their ids.
    chunk
        Nodes that are run together; the batches of one chunk are in memory at a time.
    run_id
        The run that messages say they are of.
    run_config, node_config
        What the contexts of nodes say; `partition-id` and `num-partitions` are added, as in Flower's simulation.
    keep_replies
        If not, the list that `send_and_receive` returned is emptied when it is called again. `Strategy.start` holds a
        round's replies until it has the next one's, so that both are in memory.
    """

    def __init__(
        self,
        app: NodeApp | ChunkPool,
        nodes: int | Iterable[int],
        *,
        chunk: int = CHUNK,
        run_id: int = 1,
        run_config: Mapping[str, bool | float | int | str] | None = None,
        node_config: Mapping[str, bool | float | int | str] | None = None,
        keep_replies: bool = True,
    ) -> None:
        if chunk < 1:
            raise ValueError(f"a chunk has at least one node, got {chunk}")
        self._app, self._chunk, self._run_id = app, chunk, run_id
        self._node_ids = sorted(range(1, nodes + 1) if isinstance(nodes, int) else set(nodes))
        self._partitions = {node_id: number for number, node_id in enumerate(self._node_ids)}
        self._run_config, self._node_config = dict(run_config or {}), dict(node_config or {})
        self._contexts: dict[int, Context] = {}
        self._pushed = 0
        # Messages not yet run, and replies not yet pulled, by the id of the message.
        self._waiting: dict[str, Message] = {}
        self._replies: dict[str, Message] = {}
        self._keep_replies = keep_replies
        self._returned: list[Message] = []
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        self._entered.enter_context(task_of_run(self._run_id))
        # What is here already, torch above all, need not be looked through for every few thousand replies.
        gc.freeze()
        self._entered.callback(gc.unfreeze)
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    def set_run(self, run: Any) -> None:
        """Take the id of another run."""
        self._run_id = run.run_id

    @property
    def run(self) -> Any:
        """What Flower says of the run."""
        return run_of(self._run_id)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Build a message: Flower's older way to call `Message`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the ids of all nodes, sorted."""
        return list(self._node_ids)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages to nodes; they are run when a reply is pulled. Returns their ids, in the same order."""
        ids = []
        for message in messages:
            self._pushed += 1
            message_id = f"{self._run_id}-{self._pushed}"
            stamp(message, message_id, self._run_id)
            self._waiting[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Run all that was pushed, and return the replies to these messages, sorted by node."""
        if self._waiting:
            waiting, self._waiting = list(self._waiting.values()), {}
            for reply in self._run(waiting):
                self._replies[reply.metadata.reply_to_message_id] = reply
        found = [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]
        return sorted(found, key=_sender)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Run messages and return all replies, sorted by node; nobody is waited for, so `timeout` means nothing."""
        if not self._keep_replies:
            self._returned.clear()
        replies = self.pull_messages(self.push_messages(messages))
        self._returned = [] if self._keep_replies else replies
        return replies

    def _run(self, messages: Sequence[Message]) -> Iterable[Message]:
        ordered = sorted(messages, key=_addressee)
        known = [message for message in ordered if message.metadata.dst_node_id in self._partitions]
        chunks = self._chunks(known)
        answers = self._app.map(chunks) if isinstance(self._app, ChunkPool) else starmap(self._app, chunks)
        for message, reply in zip(known, chain.from_iterable(answers), strict=True):
            if reply.metadata.reply_to_message_id != message.metadata.message_id:
                raise ValueError(f"the app did not answer node {message.metadata.dst_node_id} in its place")
            yield reply
        for message in ordered:
            if message.metadata.dst_node_id not in self._partitions:
                yield unavailable(message)

    def _chunks(self, messages: Sequence[Message]) -> Iterator[Chunk]:
        for start in range(0, len(messages), self._chunk):
            chunk = messages[start : start + self._chunk]
            yield chunk, [self._context(message.metadata.dst_node_id) for message in chunk]

    def _context(self, node_id: int) -> Context:
        if node_id not in self._contexts:
            partition = {PARTITION: self._partitions[node_id], "num-partitions": len(self._node_ids)}
            self._contexts[node_id] = Context(
                run_id=self._run_id,
                node_id=node_id,
                node_config={**self._node_config, **partition},
                state=RecordDict(),
                run_config=self._run_config,
            )
        return self._contexts[node_id]


def _addressee(message: Message) -> int:
    return message.metadata.dst_node_id


def _sender(message: Message) -> int:
    return message.metadata.src_node_id
