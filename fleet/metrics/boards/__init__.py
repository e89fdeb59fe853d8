"""Boards: what somebody on call looks at, in Grafana or on the page of `fleet report dashboard`."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.metrics.boards.chip import CHIP
from fleet.metrics.boards.fleet import FLEET
from fleet.metrics.boards.forget import FORGET
from fleet.metrics.boards.learning import LEARNING
from fleet.metrics.boards.node import NODE
from fleet.metrics.boards.simulation import SIMULATION
from fleet.metrics.definitions import Board

#: Of a fleet that is deployed.
BOARDS: Sequence[Board] = (FLEET, FORGET, NODE, CHIP, LEARNING)
ALL_BOARDS: Sequence[Board] = (*BOARDS, SIMULATION)
