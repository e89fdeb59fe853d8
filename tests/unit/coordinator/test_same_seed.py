"""Two runs of a fleet from one seed are one run: coordinator and nodes take nothing from outside their ports.

Whatever bypasses a port, or hangs on the order of a set, makes the second run another one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from reram_fleet.crypto.key_store import MemoryKeyStore
from reram_fleet.crypto.testing import seeded
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse

from edge_node.testing import FakeClock
from fleet.coordinator.nodes.report_checks import Effect
from fleet.coordinator.testing import SteppedCoordinator
from fleet.trust.keys import PrivateKeys
from tests.device import Device
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, campaign_state, captured


class OverheardCoordinator(SteppedCoordinator):
    """A coordinator and all that it is told and says, in order."""

    heard: list[tuple[str, bytes]]

    def welcome(self, hello: ConnectRequest, nonce: bytes):
        self.heard.append(("hello", hello.SerializeToString()))
        return super().welcome(hello, nonce)

    def take(self, node_id: str, request: ConnectRequest) -> Effect:
        effect = super().take(node_id, request)
        self.heard += [(node_id, message.SerializeToString()) for message in (request, *effect.replies)]
        return effect

    def outbox(self, node_id: str) -> list[ConnectResponse]:
        messages = super().outbox(node_id)
        self.heard += [(node_id, message.SerializeToString()) for message in messages]
        return messages


def run(folder: Path, seed: int) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Take a small fleet through a forget; returns every message, and every row in the end."""
    clock, randomness = FakeClock(), seeded(seed)
    coordinator = OverheardCoordinator(
        folder,
        now_ms=clock.unix_ms,
        signer=PrivateKeys.drawn(randomness.draw),
        secrets=MemoryKeyStore(draw=randomness.draw),
        randomness=randomness,
    )
    coordinator.heard = []
    nodes = [Device(f"node-{number}", clock=clock, randomness=randomness) for number in range(3)]
    for node in nodes:
        coordinator.enroll(node)
    for number, tag in enumerate((ANN, BOB, CEM, DEB)):
        nodes[number % 3].capture(tag, captured(number))
        nodes[(number + 1) % 3].capture(tag, captured(number + 10))
        clock.advance(1.0)
        coordinator.converse(*nodes)
    campaign, _ = coordinator.forget("r1", ANN, BOB)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    with coordinator.transaction() as unit:
        certificate = unit.certificates.issue(campaign.campaign_id)
    coordinator.close()
    with closing(sqlite3.connect(folder / "fleet.db")) as database:
        # Not how the tables are declared: a migration writes constraints in an order of its own.
        rows = [line for line in database.iterdump() if line.startswith("INSERT")]
    return [*coordinator.heard, ("certificate", certificate.encode())], rows


def test_a_run_is_repeated_by_its_seed_also_where_sets_have_another_order(tmp_path):
    said, rows = run(tmp_path / "here", 1)
    program = (
        "import json, sys; from tests.unit.coordinator.test_same_seed import *; print(json.dumps(text(sys.argv[1])))"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said_there, rows_there = json.loads(there.stdout)
    assert len(said) > 100
    assert said_there == [[node_id, message.hex()] for node_id, message in said]
    assert rows_there == rows


def text(folder: str) -> tuple[list[tuple[str, str]], list[str]]:
    said, rows = run(Path(folder), 1)
    return [(node_id, message.hex()) for node_id, message in said], rows
