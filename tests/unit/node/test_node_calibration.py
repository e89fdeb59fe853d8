"""Calibration of a chip while its node runs, by the node's clock."""

from __future__ import annotations

from edge_node.errors import EngineError
from edge_node.testing import FakeClock, FakeCoordinator, MemoryEngine, MemoryNode
from hwmodel import Phase

EVERY_S = 3600.0


def started(
    clock: FakeClock, coordinator: FakeCoordinator, every_s: float | None, engine: type[MemoryEngine] = MemoryEngine
) -> MemoryNode:
    node = MemoryNode(clock=clock, make_engine=engine, calibrate_every_s=every_s)
    node.join(coordinator.enrollment("127.0.0.1:1"))
    return node


def calibrations(node: MemoryNode) -> int:
    return int(node.node.context.engine.calibrations)


def test_node_calibrates_at_the_heartbeats_that_it_is_due_at(clock: FakeClock, coordinator: FakeCoordinator) -> None:
    node = started(clock, coordinator, EVERY_S)
    seen = []
    for _ in range(5):
        node.heartbeat()
        seen.append(calibrations(node))
        clock.advance(EVERY_S / 2)

    assert seen == [0, 0, 1, 1, 2]
    (spent,) = [row for row in node.node.context.journal.costs().items() if row[0] is Phase.INFER]
    assert spent[1].energy_j > 0


def test_node_without_a_schedule_calibrates_at_its_start_only(clock: FakeClock, coordinator: FakeCoordinator) -> None:
    node = started(clock, coordinator, None)
    clock.advance(1e9)
    node.heartbeat()

    assert calibrations(node) == 0


def test_schedule_begins_anew_with_a_restart(clock: FakeClock, coordinator: FakeCoordinator) -> None:
    node = started(clock, coordinator, EVERY_S)
    clock.advance(0.9 * EVERY_S)
    node.restart()
    clock.advance(0.9 * EVERY_S)
    node.heartbeat()

    assert calibrations(node) == 0


class _WornOut(MemoryEngine):
    def calibrate(self, node: int) -> None:
        raise EngineError("the public samples of a person are all the same: cannot calibrate on them")


def test_chip_that_cannot_be_calibrated_stops_no_heartbeat(
    clock: FakeClock, coordinator: FakeCoordinator, caplog
) -> None:
    node = started(clock, coordinator, EVERY_S, _WornOut)
    clock.advance(EVERY_S)

    assert node.heartbeat()
    assert "goes on with the calibration that it has" in caplog.text
