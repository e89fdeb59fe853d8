"""A forget between a coordinator process and nodes on real streams; what a kill costs; what is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, Telemetry

from fleet.client import ForbiddenStateError
from fleet.coordinator.testing import FEATURES, SimulatedNode
from fleet.trust.audit import verify_certificate
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually

ORDER = ["committed", "suppressing", "erasing", "converged"]


@pytest.fixture
def coordinator(tmp_path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator")
    try:
        process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
def node(coordinator) -> SimulatedNode:
    """Return an enrolled node with one person on it, not connected."""
    node = SimulatedNode("node-1")
    coordinator.enroll(node)
    node.capture(new_tag(), list(range(1000, 1000 + FEATURES)))
    return node


@pytest.fixture
def person(node) -> str:
    (tag,) = node.journal.enrolled
    return tag


def settle(client, *streams):
    """Return once these nodes run the desired revision."""
    for stream in streams:
        stream.wait_heard("lease")
        stream.heartbeat()

    def settled():
        desired = client.get_fleet().revision
        return desired and {node.revision for node in client.list_nodes() if node.connected} == {desired}

    eventually("nodes run the desired revision", settled)


def execution_states(client, campaign_id):
    return {execution.node_id: execution.state for execution in client.get_forget(campaign_id).executions}


def wait_converged(client, campaign_id):
    return eventually(
        "the forget converges", lambda: (forget := client.get_forget(campaign_id)).state == "converged" and forget
    )


def test_watcher_sees_a_forget_from_commit_to_converged(coordinator, node, person, open_stream):
    absent = SimulatedNode("node-2")
    coordinator.enroll(absent)
    with coordinator.client() as client:
        settle(client, open_stream(coordinator.address, node))
        created = client.create_forget("watched", [person])
        assert created.created
        campaign_id = created.forget.campaign_id
        watching = client.watch_forget(campaign_id, timeout_s=60.0)
        seen = [next(watching).state]
        # The campaign waits for the node that is away, and with it the watcher.
        expected = {"node-1": "verified", "node-2": "pending"}
        eventually("node-1 verifies", lambda: execution_states(client, campaign_id) == expected)
        open_stream(coordinator.address, absent)
        seen += [forget.state for forget in watching]
        assert seen[-1] == "converged"
        assert seen == sorted(seen, key=ORDER.index)
        final = client.get_forget(campaign_id)
        assert execution_states(client, campaign_id) == {"node-1": "verified", "node-2": "not_affected"}
        assert final.seconds_to_verify >= final.seconds_to_suppress >= 0.0
        assert person not in node.active()
        certificate = client.get_certificate(campaign_id)
        lines = verify_certificate(certificate, client.get_fleet().command_public_key)
        assert all(line.holds for line in lines), [str(line) for line in lines if not line.holds]


def test_request_id_makes_a_repeat_known_and_another_body_a_conflict(coordinator, node, person, open_stream):
    with coordinator.client() as client:
        settle(client, open_stream(coordinator.address, node))
        first = client.create_forget("r1", [person])
        again = client.create_forget("r1", [person])
        assert (first.created, again.created) == (True, False)
        assert again.forget.campaign_id == first.forget.campaign_id
        with pytest.raises(ForbiddenStateError, match="different forget"):
            client.create_forget("r1", [new_tag()], allow_unknown=True)
        assert client.get_fleet().generation == 1


@pytest.mark.parametrize("deaf_to", ["forget_log", "revision", "erase", "receipt_ack"])
def test_kill_in_the_middle_of_a_forget_costs_time_only(coordinator, node, person, open_stream, deaf_to):
    """SIGKILL once a message was sent that the node did not act upon; then the same state and port again."""
    address = coordinator.address
    deaf: list[str] = []
    stream = open_stream(address, node, answers=lambda message: message.WhichOneof("message") not in (*deaf, ""))
    with coordinator.client() as client:
        settle(client, stream)
        deaf.append(deaf_to)
        stream.heard.clear()
        campaign_id = client.create_forget("r1", [person]).forget.campaign_id
        stream.wait_heard(deaf_to)
    coordinator.kill()
    stream.wait_ended()
    coordinator.start()
    assert coordinator.address == address
    with coordinator.client() as client:
        # What was acknowledged is still there, and made no second time.
        again = client.create_forget("r1", [person])
        assert (again.created, again.forget.campaign_id) == (False, campaign_id)
        open_stream(address, node)
        final = wait_converged(client, campaign_id)
        assert [execution.state for execution in final.executions] == ["verified"]
        assert [forget.generation for forget in client.list_forgets()] == [1]
    assert [row.counter for row in node.journal.receipts] == [1]
    assert person not in node.journal.enrolled


def test_acknowledged_forget_has_destroyed_the_key_and_a_restart_makes_no_other(coordinator, node, person, open_stream):
    key_file = coordinator.state / "secrets" / f"subject-{person}.key"
    with coordinator.client() as client:
        settle(client, open_stream(coordinator.address, node))
        assert key_file.exists()
        client.create_forget("r1", [person])
        assert not key_file.exists()
    coordinator.kill()
    coordinator.start()
    assert not key_file.exists()


def test_node_that_lies_is_held_and_gets_no_lease(coordinator, node, person, open_stream):
    def keep_the_person(receipt):
        receipt.active_adapters.add(subject_tag=person, digest=bytes(32))

    node.amend = keep_the_person
    stream = open_stream(coordinator.address, node)
    with coordinator.client() as client:
        settle(client, stream)
        campaign_id = client.create_forget("r1", [person]).forget.campaign_id
        eventually("the node is held", lambda: client.get_node("node-1").node.held_reason)
        assert execution_states(client, campaign_id) == {"node-1": "held"}
        stream.wait_heard("receipt_ack")
        stream.heard.clear()
        stream.heartbeat()
        # Answered in order: had there been a lease, it would have come before the answer to the repeat.
        stream.say(ConnectRequest(receipt=node.journal.receipts[-1].envelope))
        stream.wait_heard("receipt_ack")
        assert not stream.has_heard("lease")


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_parse_move_and_name_no_person(coordinator, node, person, open_stream):
    stream = open_stream(coordinator.address, node)
    with coordinator.client() as client:
        settle(client, stream)
        before = samples(coordinator.metrics())
        costs = [types.PhaseCost(phase=types.ENERGY_PHASE_ERASE, energy_j=0.5, cell_writes=3)]
        stream.say(ConnectRequest(telemetry=Telemetry(costs=costs)))
        campaign_id = client.create_forget("r1", [person]).forget.campaign_id
        wait_converged(client, campaign_id)
    # Read when the node has certainly journalled it.
    tags = set(types.ForgetCommand.FromString(node_command(node, 1)).subject_tags)
    text = coordinator.metrics()
    after = samples(text)
    assert (before[("fleet_forget_generation",)], after[("fleet_forget_generation",)]) == (0.0, 1.0)
    assert after[("fleet_nodes_connected",)] == 1.0
    assert after[("fleet_forget_executions", "verified")] == 1.0
    assert after[("fleet_forget_oldest_unverified_age_seconds",)] == 0.0
    assert after[("fleet_node_energy_joules_total", "erase", "node-1")] == 0.5
    assert after[("fleet_node_reram_writes_total", "node-1")] == 3.0
    assert after[("fleet_node_applied_forget_generation", "node-1")] == 1.0
    assert after[("fleet_desired_revision",)] > before[("fleet_desired_revision",)]
    assert len(tags) == 2
    assert not [tag for tag in {*tags, *node.active(), person, campaign_id} if tag in text]
    assert not re.findall(r"[0-9a-f]{32}", text)


def node_command(node, generation):
    """Return the signed bytes of a log entry, once the node has it."""
    eventually("the node has the log", lambda: generation in node.journal.commands)
    return node.journal.commands[generation].payload


def test_forget_goes_on_once_the_node_that_it_waits_for_is_retired(coordinator, node, person, open_stream):
    absent = SimulatedNode("node-2")
    coordinator.enroll(absent)
    with coordinator.client() as client:
        gone = open_stream(coordinator.address, absent, answers=lambda message: not message.HasField("erase"))
        settle(client, open_stream(coordinator.address, node), gone)
        campaign_id = client.create_forget("r1", [person]).forget.campaign_id
        waiting = {"node-1": "verified", "node-2": "applying"}
        eventually("node-2 is waited for", lambda: execution_states(client, campaign_id) == waiting)

        retired = client.retire_node("node-2", "does not answer")
        assert list(retired.converged_campaign_ids) == [campaign_id]
        assert not retired.node.connected
        assert gone.wait_ended() is grpc.StatusCode.PERMISSION_DENIED
        assert "node-2 was retired: does not answer" in gone.details
        assert list(wait_converged(client, campaign_id).excepted_node_ids) == ["node-2"]

        again = open_stream(coordinator.address, absent)
        assert again.wait_ended() is grpc.StatusCode.UNAUTHENTICATED
        assert "retired" in again.details
        assert [n.node_id for n in client.list_nodes()] == ["node-1"]
        with pytest.raises(ForbiddenStateError, match="was retired"):
            client.enroll_node(absent.identity)


def test_held_node_that_is_released_verifies_and_serves_again(coordinator, node, person, open_stream):
    lies = [True]
    node.amend = lambda receipt: receipt.ClearField("active_adapters") if lies else None
    stream = open_stream(coordinator.address, node)
    with coordinator.client() as client:
        settle(client, stream)
        campaign_id = client.create_forget("r1", [person]).forget.campaign_id
        eventually("the node is held", lambda: client.get_node("node-1").node.held_reason)
        lies.clear()
        assert not client.release_node("node-1", "its software is mended").held_reason
        assert not wait_converged(client, campaign_id).excepted_node_ids
        stream.heard.clear()
        stream.heartbeat()
        stream.wait_heard("lease")
        decisions = [
            types.AuditEvent.FromString(envelope.payload).kind for envelope in client.get_node("node-1").audit_events
        ]
        assert decisions == [
            types.AUDIT_EVENT_KIND_NODE_ENROLLED,
            types.AUDIT_EVENT_KIND_NODE_HELD,
            types.AUDIT_EVENT_KIND_NODE_RELEASED,
        ]
