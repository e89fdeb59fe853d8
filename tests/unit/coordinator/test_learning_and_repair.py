"""Learning jobs as the coordinator sees them, and the repair of a LoRA that knows somebody forgotten."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.sealing import job_key_purpose, open_sealed
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.learning import jobs
from fleet.coordinator.learning import rounds as job_rounds
from fleet.domain.learning import JobKind
from fleet.errors import ConflictError, InvalidInputError, StaleAttemptError
from fleet.sim.faults.learning import GOOD_REPAIR
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    CEM,
    DEB,
    PEOPLE,
    campaign_state,
    captured,
    fill,
    job,
    newest,
    run_job,
    serve,
    start_job,
    teach,
)
from tests.unit.store.kinds import kept_in_either

#: Verdicts on what nobody learns by gradients.
EXACT = {"subject-adapter": 1, "closed-form-head": 1}


@pytest.fixture
def coordinator(open_coordinator):
    """Return a coordinator whose learning plane is there (prepared; the tests do what Flower would)."""
    return open_coordinator(learning=True)


def lora_tags(coordinator):
    return {row.subject_tag for row in newest(coordinator).shared_lora.rows}


def repair_job(coordinator, campaign):
    with coordinator.transaction() as unit:
        job_id = unit.tx.forgets.get(campaign.campaign_id).repair_job_id
    return job_id and job(coordinator, job_id)


def verdicts(coordinator, campaign):
    with coordinator.transaction() as unit:
        found = unit.views.verdicts_of(unit.tx.forgets.get(campaign.campaign_id))
    return {verdict.adapter_kind: verdict.verdict for verdict in found}


def suppress(coordinator, nodes):
    serve(coordinator, *nodes)
    coordinator.step()


@kept_in_either
def test_finished_job_is_a_revision_that_nodes_install(coordinator, nodes):
    teach(coordinator, nodes)
    lora = newest(coordinator).shared_lora
    assert {code for row in lora.rows for code in row.codes} == {1 << (lora.shape.scale_bits - 2)}
    assert nodes[0].lora == nodes[1].lora == lora


def test_canaries_are_never_taught(coordinator, nodes):
    teach(coordinator, nodes)
    with coordinator.transaction() as unit:
        canaries = set(unit.tx.subjects.live_canaries())
    assert canaries
    assert not canaries & lora_tags(coordinator)


def test_same_request_again_starts_no_second_job(coordinator, nodes):
    assert start_job(coordinator, "r1") == start_job(coordinator, "r1")
    with pytest.raises(ConflictError, match="different learning job"):
        start_job(coordinator, "r1", JobKind.EVALUATE_QUALITY)


def test_learning_needs_somebody_to_learn(coordinator):
    with pytest.raises(ConflictError, match="nobody is enrolled"):
        start_job(coordinator, "r1")


def test_learning_needs_the_learning_plane(open_coordinator, nodes):
    coordinator = open_coordinator()
    with pytest.raises(ConflictError, match="without a learning plane"):
        start_job(coordinator, "r1")


def test_learning_waits_for_a_forget_that_is_being_erased(coordinator, nodes):
    coordinator.forget("f1", ANN)
    with pytest.raises(ConflictError, match="still being erased"):
        start_job(coordinator, "r1")


def test_second_training_waits_until_the_first_has_ended(coordinator, nodes):
    first = start_job(coordinator, "r1")
    with pytest.raises(ConflictError, match=f"{first} is not finished"):
        start_job(coordinator, "r2")
    with coordinator.transaction() as unit:
        unit.tx.learning.cancel(first, "stopped")
    assert start_job(coordinator, "r2") != first


def test_repairs_are_never_started_by_hand(coordinator, nodes):
    with pytest.raises(InvalidInputError, match="never by hand"):
        start_job(coordinator, "r1", JobKind.UNLEARN_LORA)


@pytest.mark.parametrize("rounds", [0, jobs.MAX_ROUNDS + 1])
def test_number_of_rounds_is_bounded(coordinator, nodes, rounds):
    with coordinator.transaction() as unit, pytest.raises(InvalidInputError, match="rounds must lie"):
        unit.jobs.start("r1", JobKind.TRAIN_LORA, rounds)


def test_ticket_is_signed_for_one_node_and_carries_the_key_that_only_it_opens(coordinator, nodes):
    job_id = start_job(coordinator, "r1")
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        response = unit.rounds.begin_round(job_id, attempt, 1)
        key = unit.rounds.describe(job_id, attempt).job_key
    assert [(node.node_id, node.flower_node_id) for node in response.nodes] == [("node-1", 100), ("node-2", 101)]
    for node, given in zip(nodes, response.nodes, strict=True):
        ticket = node.node.context.verified(given.ticket, types.JobTicket)
        assert (ticket.node_id, ticket.job_id, ticket.attempt, ticket.round) == (node.node_id, job_id, 1, 1)
        assert list(ticket.subject_tags) == sorted(PEOPLE)
        purpose = job_key_purpose(job_id, node.node_id)
        assert open_sealed(node.node._session_key, purpose, ticket.job_key) == key


def test_round_is_of_the_others_if_nothing_can_be_sealed_to_one(coordinator, nodes):
    """Its hello has checked the key; should it be wrong all the same, nobody waits for this node."""
    job_id = start_job(coordinator, "r1")
    coordinator.coordinator.env.sessions.of("node-1").session_key = bytes(32)
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        response = unit.rounds.begin_round(job_id, attempt, 1)
    assert [node.node_id for node in response.nodes] == ["node-2"]


def test_round_goes_to_nodes_that_are_connected_up_to_date_and_not_held(coordinator, nodes):
    def live():
        with coordinator.transaction() as unit:
            return [node.node_id for node in unit.rounds.live_nodes()]

    assert live() == ["node-1", "node-2"]
    coordinator.disconnect("node-2")
    assert live() == ["node-1"]
    coordinator.forget("f1", ANN)
    assert live() == []
    serve(coordinator, nodes[0])
    assert live() == ["node-1"]
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-1", "an operator wants to look at it")
    assert live() == []


def test_report_of_an_attempt_that_is_over_changes_nothing(coordinator, nodes):
    job_id = start_job(coordinator, "r1")
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        unit.rounds.finish(job_id, attempt, "the engine was busy")
    assert job(coordinator, job_id).state == "queued"
    for call in (
        lambda unit: unit.rounds.describe(job_id, attempt),
        lambda unit: unit.rounds.begin_round(job_id, attempt, 1),
        lambda unit: unit.rounds.checkpoint(job_id, attempt, 1, b"state", {}),
        lambda unit: unit.rounds.finish(job_id, attempt, ""),
    ):
        with coordinator.transaction() as unit, pytest.raises(StaleAttemptError):
            call(unit)
    assert job(coordinator, job_id).rounds_done == 0


@kept_in_either
def test_next_attempt_goes_on_after_the_last_checkpoint(coordinator, nodes, clock):
    job_id = start_job(coordinator, "r1")
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        sealed = unit.rounds.describe(job_id, attempt).sealed_state
        unit.rounds.checkpoint(job_id, attempt, 1, sealed, {"loss": 1.0})
        unit.rounds.finish(job_id, attempt, "killed")
    clock.now_ms += 60_000
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        given = unit.rounds.describe(job_id, attempt)
    assert (attempt, given.round_offset, given.sealed_state) == (2, 1, sealed)


def test_job_that_fails_as_often_as_it_may_is_given_up(coordinator, nodes, clock):
    job_id = start_job(coordinator, "r1")
    for _ in range(job_rounds.RETRY.max_attempts):
        clock.now_ms += 60_000
        with coordinator.transaction() as unit:
            attempt = unit.tx.learning.next_attempt(job_id).attempt
            unit.rounds.finish(job_id, attempt, "no node answered")
    row = job(coordinator, job_id)
    assert (row.state, row.error, row.sealed_state) == ("failed", "no node answered", None)


def test_what_cannot_be_installed_fails_the_job_and_leaves_the_revision(coordinator, nodes):
    before = newest(coordinator)
    job_id = start_job(coordinator, "r1")
    run_job(coordinator, job_id, fill(-2.0))
    row = job(coordinator, job_id)
    assert row.state == "failed"
    assert "within +-32767" in row.error
    assert newest(coordinator) == before


def test_key_of_a_job_is_destroyed_when_the_job_ends(coordinator, nodes):
    job_id = start_job(coordinator, "r1")
    assert f"job-{job_id}" in coordinator.coordinator.env.secrets.ids()
    run_job(coordinator, job_id)
    assert f"job-{job_id}" not in coordinator.coordinator.env.secrets.ids()


def test_forget_overtakes_a_job_that_may_know_the_person(coordinator, nodes):
    job_id = start_job(coordinator, "r1")
    coordinator.forget("f1", ANN)
    row = job(coordinator, job_id)
    assert (row.state, row.sealed_state) == ("failed", None)
    assert "generation 1" in row.error
    assert f"job-{job_id}" not in coordinator.coordinator.env.secrets.ids()


@kept_in_either
def test_revision_without_the_person_waits_for_the_repaired_lora(coordinator, nodes):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    repair = repair_job(coordinator, campaign)
    assert (repair.kind, repair.state, repair.generation) == ("train.unlearn", "queued", 1)
    assert list(repair.tags) == [BOB, CEM, DEB]
    assert list(repair.forget_tags) == [ANN]
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    assert coordinator.outbox("node-1") == []
    run_job(coordinator, repair.job_id, fill(0.125))
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert lora_tags(coordinator) == {BOB, CEM, DEB}
    assert verdicts(coordinator, campaign) == {**EXACT, "shared-lora": 2}


def test_waiting_for_a_repair_gives_the_reconciler_nothing_to_do(coordinator, nodes):
    """A step that changes nothing must say so: each change wakes the reconciler again."""
    teach(coordinator, nodes)
    coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    assert not coordinator.step()


def test_lora_is_dropped_when_no_attempt_of_its_repair_succeeds(coordinator, nodes, clock):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    repair = repair_job(coordinator, campaign)
    for _ in range(job_rounds.RETRY.max_attempts):
        clock.now_ms += 60_000
        with coordinator.transaction() as unit:
            attempt = unit.tx.learning.next_attempt(repair.job_id).attempt
            unit.rounds.finish(repair.job_id, attempt, "no node answered")
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert lora_tags(coordinator) == set()
    assert verdicts(coordinator, campaign) == {**EXACT, "shared-lora": 1}


@pytest.mark.parametrize(
    ("measured", "failed"),
    [
        ({"forget_accepted_after": 0.1}, "accepted, beyond the exact adapters alone 0.4"),
        ({"forget_shift_after": -0.5}, "pushed below public ones, logits 2"),
        ({"kept_hits_after": 0.3}, "accuracy on kept people lost 0.2"),
        ({"forget_samples_after": 0.0}, "samples of the forgotten, per example 0"),
    ],
)
def test_rejected_repair_escalates_to_the_exact_adapters(coordinator, nodes, measured, failed):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    run_job(coordinator, repair_job(coordinator, campaign).job_id, metrics=GOOD_REPAIR | measured)
    row = repair_job(coordinator, campaign)
    assert row.state == "failed"
    assert "rejected" in row.error
    assert failed in row.error
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert lora_tags(coordinator) == set()
    with coordinator.transaction() as unit:
        lora = unit.views.verdicts_of(unit.tx.forgets.get(campaign.campaign_id))[-1]
    assert (lora.adapter_kind, lora.verdict) == ("shared-lora", 1)
    assert failed in lora.basis


def test_last_round_of_a_repair_measures_and_changes_nothing(coordinator, nodes):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    repair = repair_job(coordinator, campaign)
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(repair.job_id).attempt
        tickets = [
            types.JobTicket.FromString(node.ticket.payload)
            for number in range(1, repair.rounds + 1)
            for node in unit.rounds.begin_round(repair.job_id, attempt, number).nodes
        ]
        for number in range(1, repair.rounds + 1):
            unit.rounds.checkpoint(repair.job_id, attempt, number, b"state-%d" % number, GOOD_REPAIR)
        kept = unit.tx.learning.get(repair.job_id).sealed_state
    asked = {ticket.round: ticket.kind for ticket in tickets}
    assert asked == {
        1: types.LEARNING_KIND_UNLEARN_LORA,
        2: types.LEARNING_KIND_UNLEARN_LORA,
        3: types.LEARNING_KIND_EVALUATE_QUALITY,
    }
    assert {tuple(ticket.forget_tags) for ticket in tickets} == {(ANN,)}
    assert kept == b"state-2"


def test_lora_is_dropped_when_its_repair_diverges(coordinator, nodes):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    run_job(coordinator, repair_job(coordinator, campaign).job_id, fill(-2.0))
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert lora_tags(coordinator) == set()


@pytest.mark.parametrize("queued", [True, False], ids=["repair queued", "no repair yet"])
def test_lora_is_dropped_when_the_learning_plane_is_off(open_coordinator, coordinator, nodes, queued):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", ANN)
    if queued:
        suppress(coordinator, nodes)
        assert repair_job(coordinator, campaign).state == "queued"
    coordinator = open_coordinator(learning=False)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert lora_tags(coordinator) == set()
    assert verdicts(coordinator, campaign) == {**EXACT, "shared-lora": 1}


def test_lora_of_nobody_else_is_dropped_rather_than_repaired(coordinator, nodes):
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("f1", *PEOPLE)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert repair_job(coordinator, campaign) is None
    assert lora_tags(coordinator) == set()


def test_forget_during_a_repair_starts_one_repair_for_both(coordinator, nodes):
    teach(coordinator, nodes)
    first, _ = coordinator.forget("f1", ANN)
    suppress(coordinator, nodes)
    overtaken = repair_job(coordinator, first)
    second, _ = coordinator.forget("f2", BOB)
    assert job(coordinator, overtaken.job_id).state == "failed"
    suppress(coordinator, nodes)
    repair = repair_job(coordinator, first)
    assert repair_job(coordinator, second) == repair
    assert list(repair.forget_tags) == [ANN, BOB]
    run_job(coordinator, repair.job_id)
    coordinator.converse(*nodes)
    for campaign in (first, second):
        assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert lora_tags(coordinator) == {CEM, DEB}


def test_forget_of_somebody_without_a_row_leaves_the_lora_alone(coordinator, nodes):
    teach(coordinator, nodes)
    before = newest(coordinator).shared_lora
    nodes[0].capture("e" * 32, captured(5))
    coordinator.converse(*nodes)
    campaign, _ = coordinator.forget("f1", "e" * 32)
    coordinator.converse(*nodes)
    assert repair_job(coordinator, campaign) is None
    assert newest(coordinator).shared_lora == before
    assert verdicts(coordinator, campaign) == EXACT


def test_verdicts_are_given_once_the_forget_has_converged(coordinator, nodes):
    campaign, _ = coordinator.forget("f1", ANN)
    assert verdicts(coordinator, campaign) == {}
