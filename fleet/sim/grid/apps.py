"""Apps of many nodes: what a `VectorGrid` calls with the messages of a chunk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from flwr.app import Context, Message

from fleet.sim.grid.flower_adapter import own_copy, raised

logger = logging.getLogger(__name__)

#: Messages to the nodes of a chunk, sorted by node, and the context of each.
Chunk = tuple[Sequence[Message], Sequence[Context]]


class NodeApp(Protocol):
    """App of many nodes: a `ClientApp` with a node axis."""

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> Sequence[Message]:
        """Answer messages to nodes, sorted by node: one reply to each, in the same order.

        Parameters
        ----------
        contexts
            Context of each message's node. What an app puts into its `state` is there in the next round.
        """


@runtime_checkable
class ChunkPool(Protocol):
    """Place where chunks run beside each other."""

    def map(self, chunks: Iterable[Chunk]) -> Iterator[Sequence[Message]]:
        """Run chunks as a `NodeApp` does each, and yield their replies in the order of the chunks.

        What an app has put into the `state` of a context is in that very context when its replies are yielded.
        """


class ClientApps(NodeApp):
    """Any `ClientApp`, unchanged: one call per node. An error that it raises is the node's reply, as in Flower."""

    def __init__(self, app: Callable[[Message, Context], Message]) -> None:
        self._app = app

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> Sequence[Message]:
        """Call the app once per message."""
        return [self._reply(message, context) for message, context in zip(messages, contexts, strict=True)]

    def _reply(self, message: Message, context: Context) -> Message:
        try:
            return self._app(own_copy(message), context)
        except Exception as error:
            logger.warning("node %d: the app raised", message.metadata.dst_node_id, exc_info=True)
            return raised(message, error)
