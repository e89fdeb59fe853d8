"""Calibration of a node's chip while it runs, by the clock: what a start does to every chip, again and again."""

from __future__ import annotations

import logging

from edge_node.agent.context import NodeContext
from edge_node.errors import EngineError

logger = logging.getLogger(__name__)


class Calibration:
    """Schedule of a node's calibrations on the public samples, counted from its start. Under the node's lock."""

    def __init__(self, context: NodeContext) -> None:
        self._context, self._last_s = context, context.clock.boottime_s()

    def calibrate_if_due(self) -> bool:
        """Calibrate if that is due, and return whether it was; a node whose chip cannot be goes on as it is."""
        context, every_s = self._context, self._context.calibrate_every_s
        if every_s is None or context.recognition is None or context.clock.boottime_s() - self._last_s < every_s:
            return False
        self._last_s = context.clock.boottime_s()
        try:
            context.recognition.calibrate(context.node_index)
        except EngineError as error:
            logger.warning("%s goes on with the calibration that it has: %s", context.node_id, error)
        return True
