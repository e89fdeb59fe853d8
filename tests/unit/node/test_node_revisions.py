"""Revisions of the coordinator that become active on a node, and those that are refused."""

from __future__ import annotations

from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.testing import FakeCoordinator
from tests.unit.node.talk import Restart, Samples, adapter, identity, only


def test_a_revision_becomes_active_and_survives_a_restart(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    tag, local = new_tag(), new_tag()
    node.enroll(coordinator.consent(local), samples(1))
    (result,) = only(node.receive(coordinator.revision(identity(node), 7, [adapter(tag, 0)])), "revision_result")
    assert (result.active, result.refusal) == (True, "")
    assert result.overhead.bytes > 0
    for running in (lambda: node, restart):
        status = running().status()
        assert (status.revision, status.revision_digest) == (7, result.digest)
        assert list(status.subject_tags) == sorted([tag, local])
        assert status.overhead == result.overhead


def test_the_same_revision_again_is_active_without_being_installed_again(
    node: Node, coordinator: FakeCoordinator
) -> None:
    offer = coordinator.revision(identity(node), 1, [adapter(new_tag(), 0)])
    first = node.receive(offer)
    assert node.receive(offer) == first


def test_a_revision_from_before_the_nodes_generation_is_refused(node: Node, coordinator: FakeCoordinator) -> None:
    coordinator.forget(new_tag())
    node.receive(coordinator.log_after(0))
    offer = coordinator.revision(identity(node), 1, [adapter(new_tag(), 0)], built_at_generation=0)
    (result,) = only(node.receive(offer), "revision_result")
    assert not result.active
    assert "built at generation 0" in result.refusal
    assert node.status().revision == 0


def test_a_revision_that_names_a_forgotten_tag_is_refused(node: Node, coordinator: FakeCoordinator) -> None:
    tag = new_tag()
    coordinator.forget(tag)
    node.receive(coordinator.log_after(0))
    (result,) = only(node.receive(coordinator.revision(identity(node), 1, [adapter(tag, 0)])), "revision_result")
    assert "forgotten" in result.refusal
    assert not node.status().subject_tags


def test_an_older_revision_does_not_replace_a_newer_one(node: Node, coordinator: FakeCoordinator) -> None:
    node.receive(coordinator.revision(identity(node), 2, []))
    (result,) = only(node.receive(coordinator.revision(identity(node), 1, [adapter(new_tag(), 0)])), "revision_result")
    assert "not newer" in result.refusal
    assert node.status().revision == 2


def test_content_that_its_manifest_does_not_name_is_refused(node: Node, coordinator: FakeCoordinator) -> None:
    offer = coordinator.revision(identity(node), 1, [adapter(new_tag(), 0)])
    other = coordinator.revision(identity(node), 1, [adapter(new_tag(), 0)])
    offer.revision.content.CopyFrom(other.revision.content)
    (result,) = only(node.receive(offer), "revision_result")
    assert "digest" in result.refusal


def test_an_adapter_that_does_not_fit_leaves_the_present_revision_active(
    node: Node, coordinator: FakeCoordinator
) -> None:
    kept = new_tag()
    node.receive(coordinator.revision(identity(node), 1, [adapter(kept, 0)]))
    misfit = types.SubjectAdapter(subject_tag=new_tag(), count=1, code_sum=[1, 2, 3])
    (result,) = only(node.receive(coordinator.revision(identity(node), 2, [misfit])), "revision_result")
    assert "features" in result.refusal
    assert (node.status().revision, list(node.status().subject_tags)) == (1, [kept])
