"""A forget between a coordinator process and nodes on real streams: watched, killed in the midst, and retired from."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from reram_fleet.crypto.identifiers import new_tag

from fleet.client import ForbiddenStateError
from fleet.trust.audit import verify_certificate
from tests.device import Device
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually
from tests.unit.coordinator.small_fleet import captured

ORDER = ["committed", "suppressing", "erasing", "converged"]
PERSON = new_tag()


@pytest.fixture
def coordinator(tmp_path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator")
    try:
        process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
def node(coordinator) -> Device:
    """Return an enrolled node with one person on it, not connected."""
    node = Device("node-1")
    coordinator.enroll(node)
    node.capture(PERSON, captured(1))
    return node


def settle(client, *streams):
    """Return once these nodes run the desired revision."""
    for stream in streams:
        stream.wait_heard("lease")
        stream.heartbeat()

    def settled():
        desired = client.get_fleet().revision
        return desired and {node.revision for node in client.list_nodes().items if node.connected} == {desired}

    eventually("nodes run the desired revision", settled)


def execution_states(client, campaign_id):
    return {execution.node_id: execution.state for execution in client.list_executions(campaign_id).items}


def wait_converged(client, campaign_id):
    return eventually(
        "the forget converges", lambda: (forget := client.get_forget(campaign_id)).state == "converged" and forget
    )


def test_watcher_sees_a_forget_from_commit_to_converged(coordinator, node, open_stream):
    absent = Device("node-2")
    coordinator.enroll(absent)
    with coordinator.client() as client:
        settle(client, open_stream(coordinator.channel(), node))
        created = client.create_forget("watched", [PERSON])
        assert created.created
        campaign_id = created.forget.campaign_id
        watching = client.watch_forget(campaign_id, timeout_s=60.0)
        seen = [next(watching).state]
        # The campaign waits for the node that is away, and with it the watcher.
        expected = {"node-1": "verified", "node-2": "pending"}
        eventually("node-1 verifies", lambda: execution_states(client, campaign_id) == expected)
        open_stream(coordinator.channel(), absent)
        seen += [forget.state for forget in watching]
        assert seen[-1] == "converged"
        assert seen == sorted(seen, key=ORDER.index)
        final = client.get_forget(campaign_id)
        assert execution_states(client, campaign_id) == {"node-1": "verified", "node-2": "not_affected"}
        assert final.seconds_to_verify >= final.seconds_to_suppress >= 0.0
        assert PERSON not in node.active()
        certificate = client.get_certificate(campaign_id)
        lines = verify_certificate(certificate, client.get_fleet().command_public_key)
        assert all(line.holds for line in lines), [str(line) for line in lines if not line.holds]


def test_kill_in_the_middle_of_a_forget_costs_time_only(coordinator, node, open_stream):
    """SIGKILL once an order was sent that the node did not act upon; then the same state and port again."""
    address, key_file = coordinator.address, coordinator.state / "secrets" / f"subject-{PERSON}.key"
    deaf: list[str] = []
    stream = open_stream(
        coordinator.channel(), node, answers=lambda message: message.WhichOneof("message") not in (*deaf, "")
    )
    with coordinator.client() as client:
        settle(client, stream)
        assert key_file.exists()
        deaf.append("erase")
        campaign_id = client.create_forget("r1", [PERSON]).forget.campaign_id
        # What is acknowledged is done.
        assert not key_file.exists()
        stream.wait_heard("erase")
    coordinator.kill()
    stream.wait_ended()
    coordinator.start()
    assert coordinator.address == address
    assert not key_file.exists()
    with coordinator.client() as client:
        # What was acknowledged is still there, and made no second time.
        again = client.create_forget("r1", [PERSON])
        assert (again.created, again.forget.campaign_id) == (False, campaign_id)
        open_stream(coordinator.channel(), node)
        final = wait_converged(client, campaign_id)
        assert [(count.state, count.nodes) for count in final.counts] == [("verified", 1)]
        assert [forget.generation for forget in client.list_forgets().items] == [1]
    assert [row.counter for row in node.journal.receipts()] == [1]
    assert PERSON not in node.enrolled


def test_forget_goes_on_once_the_node_that_it_waits_for_is_retired(coordinator, node, open_stream):
    absent = Device("node-2")
    coordinator.enroll(absent)
    with coordinator.client() as client:
        settle(client, open_stream(coordinator.channel(), node))
        campaign_id = client.create_forget("r1", [PERSON]).forget.campaign_id
        away, waiting = {"node-1": "verified", "node-2": "pending"}, {"node-1": "verified", "node-2": "applying"}
        eventually("node-1 verifies", lambda: execution_states(client, campaign_id) == away)
        gone = open_stream(coordinator.channel(), absent, answers=lambda message: not message.HasField("erase"))
        eventually("node-2 is waited for", lambda: execution_states(client, campaign_id) == waiting)

        retired = client.retire_node("node-2", "does not answer")
        assert list(retired.converged_campaign_ids) == [campaign_id]
        assert not retired.node.connected
        assert gone.wait_ended() is grpc.StatusCode.PERMISSION_DENIED
        assert "node-2 was retired: does not answer" in gone.details
        assert list(wait_converged(client, campaign_id).excepted_node_ids) == ["node-2"]

        again = open_stream(coordinator.channel(), absent)
        assert again.wait_ended() is grpc.StatusCode.UNAUTHENTICATED
        assert "retired" in again.details
        assert [n.node_id for n in client.list_nodes().items] == ["node-1"]
        with pytest.raises(ForbiddenStateError, match="was retired"):
            client.enroll_node(absent.identity)
