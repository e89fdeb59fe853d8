"""Contributions about a forgotten tag to a coordinator: refused with the reason, before a kill and after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reram_fleet.crypto.identifiers import new_tag

from fleet.coordinator.testing import FEATURES, SimulatedNode
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, NodeStream, eventually


@pytest.fixture
def coordinator(tmp_path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator")
    try:
        process.start()
        yield process
    finally:
        process.kill()


def acknowledged(stream: NodeStream, tag: str) -> list[str]:
    """Return the refusals, empty for none, of all contributions about a tag that were answered."""
    acks = [message.contribution_ack for message in list(stream.heard) if message.HasField("contribution_ack")]
    return [ack.refusal for ack in acks if ack.subject_tag == tag]


def contribute(stream: NodeStream, tag: str, sequence: int) -> str:
    """Contribute a person's sums; return the refusal."""
    stream.node.capture(tag, list(range(1000, 1000 + FEATURES)))
    before = len(acknowledged(stream, tag))
    stream.say(stream.node.contribution(stream.node.journal.enrolled[tag], sequence))
    return eventually("an acknowledgement", lambda: acknowledged(stream, tag)[before:])[0]


def test_contribution_of_a_forgotten_tag_is_refused_with_the_reason_and_a_new_tag_is_taken(coordinator, open_stream):
    node, tag, later = SimulatedNode("node-1"), new_tag(), new_tag()
    coordinator.enroll(node)
    with coordinator.client() as client:
        stream = open_stream(coordinator.address, node)
        stream.wait_heard("lease")
        assert contribute(stream, tag, 1) == ""
        client.create_forget("r1", [tag])
        eventually("the node suppresses", lambda: tag in node.journal.tombstones)

        assert contribute(stream, tag, 2) == f"tag {tag} was forgotten at generation 1"

        coordinator.kill()
        stream.wait_ended()
        coordinator.start()
        stream = open_stream(coordinator.address, node)
        stream.wait_heard("lease")
        assert contribute(stream, tag, 3) == f"tag {tag} was forgotten at generation 1"
        subjects = client.get_fleet().subjects
        assert contribute(stream, later, 1) == ""
        eventually("the new tag counts", lambda: client.get_fleet().subjects == subjects + 1)
