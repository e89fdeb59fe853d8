"""Reports of connected nodes that come late, make no sense, or are out of range."""

from __future__ import annotations

import pytest
from reram_fleet.crypto import signing
from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator.nodes.report_checks import Effect, ReportError
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    NO_KEYS,
    reason_for_putting_aside,
    row_of,
    serve,
)


@pytest.mark.parametrize("session_key", NO_KEYS)
def test_renewed_session_key_that_nothing_can_be_sealed_to_is_put_aside(coordinator, nodes, session_key):
    node, _ = nodes
    coordinator.forget("r1", ANN)
    (log,) = coordinator.outbox("node-1")
    report = node.receive(log)[0].suppressed
    before = coordinator.coordinator.env.sessions.of("node-1").session_key
    session = wire.SessionKey.FromString(report.session_key.payload)
    session.public_key = session_key
    report.session_key.CopyFrom(signing.sign(node.signing_key, session))
    assert "session key of node node-1" in reason_for_putting_aside(coordinator, ConnectRequest(suppressed=report))
    assert coordinator.coordinator.env.sessions.of("node-1").session_key == before
    assert row_of(coordinator, node).generation == 0


def test_an_earlier_streams_session_key_does_not_take_the_place_of_a_newer_one(coordinator, nodes):
    node, _ = nodes
    coordinator.forget("r1", ANN)
    (log,) = coordinator.outbox("node-1")
    earlier = node.receive(log)[0]
    coordinator.take("node-1", earlier)
    coordinator.disconnect("node-1")
    coordinator.connect(node)
    coordinator.take("node-1", earlier)
    announced = coordinator.coordinator.env.sessions.of("node-1")
    assert wire.SessionKey.FromString(earlier.suppressed.session_key.payload).public_key != announced.session_key
    assert announced.session_key == node.node.session_public_key


@pytest.mark.parametrize("message", [ConnectRequest(), ConnectRequest(hello=types.Envelope())])
def test_message_that_is_no_report_closes_the_stream(coordinator, nodes, message):
    with pytest.raises(ReportError, match="where a report was expected"):
        coordinator.take("node-1", message)


def test_suppressed_beyond_the_log_or_of_another_log_closes_the_stream(coordinator, nodes):
    coordinator.forget("r1", ANN)
    for report in (
        wire.Suppressed(generation=2, log_head=bytes(32)),
        wire.Suppressed(generation=1, log_head=bytes(32)),
    ):
        with pytest.raises(ReportError):
            coordinator.take("node-1", ConnectRequest(suppressed=report))
    assert row_of(coordinator, nodes[0]).generation == 0


def test_late_suppressed_does_not_send_the_node_back(coordinator, nodes):
    node, _ = nodes
    coordinator.forget("r1", ANN)
    serve(coordinator, node)
    late = wire.Suppressed(generation=1, log_head=node.journal.position().log_head)
    coordinator.forget("r2", BOB)
    serve(coordinator, node)
    coordinator.take("node-1", ConnectRequest(suppressed=late))
    assert row_of(coordinator, node).generation == 2
    coordinator.take("node-1", ConnectRequest(suppressed=wire.Suppressed(generation=0, log_head=ZERO_HASH)))
    assert row_of(coordinator, node).generation == 2


def test_late_revision_result_does_not_send_the_node_back(coordinator, nodes):
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    revision = row_of(coordinator, nodes[0]).revision
    late = wire.RevisionResult(revision=revision - 1, digest=b"old", active=True)
    coordinator.take("node-1", ConnectRequest(revision_result=late))
    assert row_of(coordinator, nodes[0]).revision == revision
    assert coordinator.outbox("node-1") == []


def test_refused_revision_is_not_noted_as_active(coordinator, nodes):
    before = row_of(coordinator, nodes[0])
    refused = wire.RevisionResult(revision=before.revision + 1, digest=b"new", refusal="no room")
    effect = coordinator.take("node-1", ConnectRequest(revision_result=refused))
    assert not effect.changed
    assert row_of(coordinator, nodes[0]).revision == before.revision


def test_telemetry_replaces_what_was_reported_and_skips_phases_of_newer_nodes(coordinator, nodes):
    for joules in (1.0, 2.5):
        telemetry = wire.Telemetry(
            costs=[
                types.PhaseCost(phase=types.ENERGY_PHASE_INFER, energy_j=joules, bytes=7),
                types.PhaseCost(phase=types.ENERGY_PHASE_UNSPECIFIED, energy_j=100.0),
                types.PhaseCost(phase=99, energy_j=100.0),  # type: ignore[arg-type]
            ],
            energy_model=types.EnergyModel(name="180nm-1t1r", version="1"),
            inferences=4,
            subject_adapters=3,
        )
        coordinator.take("node-1", ConnectRequest(telemetry=telemetry))
    with coordinator.transaction() as unit:
        (cost,) = unit.tx.nodes.costs(["node-1"])["node-1"]
    assert (cost.phase, cost.energy_j, cost.bytes) == ("infer", 2.5, 7)
    row = row_of(coordinator, nodes[0])
    assert (row.inferences, row.subject_adapters, row.energy_model_name) == (4, 3, "180nm-1t1r")


def telemetry(joules=1.0, **changes):
    report = wire.Telemetry(
        costs=[types.PhaseCost(phase=types.ENERGY_PHASE_INFER, energy_j=joules, seconds=1.0, bytes=7)],
        inferences=4,
        stale_inferences_refused=2,
    )
    report.MergeFrom(wire.Telemetry(**changes))
    return ConnectRequest(telemetry=report)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        pytest.param(telemetry(1e300), "energy_j must lie in", id="huge"),
        pytest.param(telemetry(-1.0), "energy_j must lie in", id="negative"),
        pytest.param(telemetry(float("nan")), "energy_j is nan", id="not a number"),
        pytest.param(telemetry(float("inf")), "energy_j is inf", id="infinite"),
        pytest.param(
            telemetry(costs=[types.PhaseCost(phase=types.ENERGY_PHASE_RADIO, bytes=2**63)]),
            "bytes is 9223372036854775808",
            id="more than a database counts",
        ),
        pytest.param(telemetry(inferences=2**60), "inferences must lie in", id="inferences"),
        pytest.param(telemetry(costs=[types.PhaseCost(phase=types.ENERGY_PHASE_INFER)]), "listed twice", id="twice"),
        pytest.param(telemetry(energy_model=types.EnergyModel(name="x" * 65)), "64 characters", id="name"),
    ],
)
def test_telemetry_out_of_range_is_put_aside_and_stores_nothing(coordinator, nodes, report, reason):
    before = row_of(coordinator, nodes[0])
    assert reason in reason_for_putting_aside(coordinator, report)
    with coordinator.transaction() as unit:
        assert unit.tx.nodes.costs(["node-1"])["node-1"] == []
    assert row_of(coordinator, nodes[0]) == before


@pytest.mark.parametrize(
    ("less", "reason"),
    [
        (telemetry(0.5), "energy_j is cumulative"),
        (ConnectRequest(telemetry=wire.Telemetry(inferences=4, stale_inferences_refused=2)), "cumulative"),
        (ConnectRequest(telemetry=wire.Telemetry(costs=telemetry().telemetry.costs)), "inferences is cumul"),
    ],
)
def test_telemetry_that_goes_back_within_a_stream_is_put_aside(coordinator, nodes, less, reason):
    coordinator.take("node-1", telemetry())
    assert reason in reason_for_putting_aside(coordinator, less)
    with coordinator.transaction() as unit:
        assert [cost.energy_j for cost in unit.tx.nodes.costs(["node-1"])["node-1"]] == [1.0]


def test_telemetry_of_a_node_that_was_killed_goes_on_from_what_it_had_saved(coordinator, nodes):
    coordinator.take("node-1", telemetry(2.0))
    coordinator.disconnect("node-1")
    coordinator.connect(nodes[0])
    coordinator.take("node-1", telemetry(1.0))
    with coordinator.transaction() as unit:
        assert [cost.energy_j for cost in unit.tx.nodes.costs(["node-1"])["node-1"]] == [1.0]


@pytest.mark.parametrize(
    "overhead",
    [
        types.DeploymentOverhead(energy_j=1e300),
        types.DeploymentOverhead(reprogramming_ratio=-1.0),
        types.DeploymentOverhead(reprogramming_cell_writes=2**60),
    ],
)
def test_deployment_overhead_out_of_range_is_put_aside(coordinator, nodes, overhead):
    before = row_of(coordinator, nodes[0])
    result = wire.RevisionResult(revision=before.revision, active=True, overhead=overhead)
    assert "deployment overhead" in reason_for_putting_aside(coordinator, ConnectRequest(revision_result=result))
    assert row_of(coordinator, nodes[0]) == before


@pytest.mark.parametrize(
    "heartbeat", [wire.Heartbeat(generation=1), wire.Heartbeat(lease_nonce=bytes(65))], ids=["generation", "nonce"]
)
def test_heartbeat_out_of_range_is_put_aside_and_gets_no_lease(coordinator, nodes, heartbeat):
    assert "Heartbeat." in reason_for_putting_aside(coordinator, ConnectRequest(heartbeat=heartbeat))


def test_heartbeat_is_news_only_when_the_state_changes(coordinator, nodes):
    heartbeat = wire.Heartbeat(serve_state=types.SERVE_STATE_SERVING, lease_nonce=b"1")
    coordinator.take("node-1", ConnectRequest(heartbeat=heartbeat))
    assert not coordinator.take("node-1", ConnectRequest(heartbeat=heartbeat)).changed
    heartbeat.serve_state = types.SERVE_STATE_QUARANTINED
    heartbeat.quarantine_reason = types.QUARANTINE_REASON_LEASE_EXPIRED
    assert coordinator.take("node-1", ConnectRequest(heartbeat=heartbeat)).changed


def test_words_of_a_newer_node_are_unspecified_rather_than_an_error(coordinator, nodes):
    heartbeat = wire.Heartbeat(serve_state=99, quarantine_reason=99, lease_nonce=b"1")
    coordinator.take("node-1", ConnectRequest(heartbeat=heartbeat))
    with coordinator.store.snapshot() as tx:
        node = tx.nodes.get("node-1")
    assert (node.serve_state, node.quarantine_reason) == ("unspecified", "unspecified")


def test_report_with_a_number_that_cannot_be_stored_is_put_aside_and_the_stream_goes_on(coordinator, nodes):
    huge = wire.ConnectRequest(telemetry=wire.Telemetry(inferences=2**64 - 1))
    assert coordinator.take("node-1", huge) == Effect()
    assert coordinator.take("node-1", nodes[0].heartbeat()[0]).replies
    with coordinator.transaction() as unit:
        assert unit.tx.nodes.quarantined("node-1")[0].kind == "telemetry"
