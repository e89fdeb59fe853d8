"""Under a node that says anything, the others' forgets converge, and nothing that they name changes."""

from __future__ import annotations

import threading

import grpc
import pytest
from reram_fleet.crypto.digests import subject_digests
from reram_fleet.crypto.identifiers import new_tag

from tests.attacks.noise import Noise, shout
from tests.device import Device
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, NodeStream, eventually
from tests.unit.coordinator.small_fleet import captured

MESSAGES = 10_000


class BusyNode:
    """An honest node on a stream of its own that sends heartbeats until it is closed."""

    def __init__(self, channel: grpc.Channel, node: Device) -> None:
        self.stream = NodeStream(channel, node)
        self.stream.wait_heard("lease")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat, daemon=True)
        self._thread.start()

    def _heartbeat(self) -> None:
        while not self._over.wait(0.3):
            self.stream.heartbeat()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.stream.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_message_of_one_node_stops_or_misleads_the_others(tmp_path):
    coordinator = CoordinatorProcess(tmp_path / "coordinator")
    coordinator.start()
    honest = [Device("node-1"), Device("node-2")]
    people = [new_tag() for _ in range(6)]
    rogue = Device("node-3")
    for node in (*honest, rogue):
        coordinator.enroll(node)
    for number, tag in enumerate(people):
        honest[number % 2].capture(tag, captured(number))
    streams = [BusyNode(coordinator.channel(), node) for node in honest]
    try:
        with coordinator.client() as client:

            def named(node: Device) -> dict[str, bytes]:
                return {
                    d.subject_tag: d.digest for d in subject_digests(node.active().values()) if d.subject_tag in people
                }

            eventually("everybody is on both nodes", lambda: all(len(named(node)) == 6 for node in honest))
            before = named(honest[0])
            forgets: list[str] = []

            def forget_now_and_then(sent: int) -> None:
                if sent * 4 // MESSAGES > len(forgets):
                    forgets.append(client.create_forget(new_tag(), [people[len(forgets)]]).forget.campaign_id)

            streams_taken = shout(
                coordinator.channel(), Noise(rogue, tuple(people), seed=9), MESSAGES, forget_now_and_then
            )
            assert len(forgets) >= 3
            assert streams_taken > 1

            def done(campaign_id: str) -> bool:
                found = client.list_executions(campaign_id).items
                return all(e.state == "verified" for e in found if e.node_id != rogue.node_id)

            for campaign_id in forgets:
                eventually(
                    f"{campaign_id} is verified on the honest nodes", lambda campaign=campaign_id: done(campaign)
                )
            kept = {tag: digest for tag, digest in before.items() if tag not in people[: len(forgets)]}
            for node in honest:
                eventually("nobody else has changed", lambda node=node: named(node) == kept)
            shown = {node.node_id: node for node in client.list_nodes().items}
            assert [shown[node.node_id].held_reason for node in honest] == ["", ""]
            assert [shown[node.node_id].quarantined_reports for node in honest] == [0, 0]
            assert client.get_fleet().subjects == len(kept)
            # And whoever is on call can see who it was.
            assert client.get_node(rogue.node_id).node.quarantined_reports > 0
            assert len(client.get_node(rogue.node_id).quarantined) <= 51
    finally:
        for stream in streams:
            stream.close()
        coordinator.kill()
