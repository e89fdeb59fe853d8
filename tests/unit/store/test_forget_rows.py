import pytest
from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.crypto.signing import open_envelope, payload_hash
from reram_fleet.v1.types_pb2 import Envelope, ForgetCommand

from fleet.domain.campaign import CampaignState as C
from fleet.domain.execution import ExecutionState as S
from fleet.errors import ConflictError, IllegalTransitionError, InvalidInputError, NotFoundError, VersionConflictError

ALICE, BOB = ("aa" * 16, "bb" * 16)


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        yield tx


def moved(tx, campaign_id, node_id, target, detail="", **fields):
    tx.forgets.set_execution(campaign_id, node_id, target, detail, **fields)
    return tx.forgets.execution(campaign_id, node_id)


def order(tx, campaign, node_id):
    tx.forgets.set_execution(campaign.campaign_id, node_id, S.SUPPRESSED)
    return moved(tx, campaign.campaign_id, node_id, S.APPLYING, challenge_nonce=b"nonce", expected_probes=["", BOB])


# The log


def test_generations_are_dense_signed_and_chained(tx, commit, command_key):
    for number in (1, 2, 3):
        commit(tx, ALICE, request_id=f"r{number}")
    previous = ZERO_HASH
    entries = tx.log.range(0)
    for number, entry in enumerate(entries, start=1):
        envelope = Envelope.FromString(entry.envelope)
        command = open_envelope(envelope, ForgetCommand, command_key.public_key().public_bytes_raw())
        assert (entry.generation, command.generation) == (number, number)
        assert (command.previous_hash, command.fleet_id) == (previous, "f1")
        assert list(command.subject_tags) == [ALICE]
        previous = payload_hash(envelope)
    fleet = tx.fleet.get()
    assert (fleet.generation, fleet.log_head) == (3, previous)


def test_a_range_begins_after_what_the_node_has(tx, commit):
    for number in (1, 2, 3):
        commit(tx, ALICE, request_id=f"r{number}")
    assert [entry.generation for entry in tx.log.range(1)] == [2, 3]
    assert [entry.generation for entry in tx.log.range(1, 2)] == [2]
    assert [entry.generation for entry in tx.log.range(3)] == []
    assert tx.log.get(2).generation == 2
    with pytest.raises(NotFoundError, match="no generation 4"):
        tx.log.get(4)


def test_a_name_never_enters_the_log(tx, commit):
    with pytest.raises(InvalidInputError):
        commit(tx, "alice")
    assert tx.fleet.get().generation == 0


# Campaigns


def test_a_commit_makes_a_pending_execution_on_every_node(tx, commit):
    campaign = commit(tx, BOB, ALICE)
    assert campaign.state is C.COMMITTED
    assert campaign.tags == (ALICE, BOB)
    executions = tx.forgets.executions(campaign.campaign_id)
    assert [(row.node_id, row.state, row.generation) for row in executions] == [
        ("n1", S.PENDING, 1),
        ("n2", S.PENDING, 1),
    ]


def test_a_request_is_known_by_its_id_and_its_body(tx, commit):
    campaign = commit(tx, ALICE)
    assert tx.forgets.by_request("r1", b"body") == campaign
    assert tx.forgets.by_request("r2", b"body") is None
    with pytest.raises(ConflictError, match="used for a different forget"):
        tx.forgets.by_request("r1", b"other body")
    with pytest.raises(ConflictError, match="has a campaign already"):
        commit(tx, ALICE)


def test_campaigns_are_found_by_tag_generation_and_openness(tx, commit):
    first = commit(tx, ALICE)
    second = commit(tx, ALICE, BOB, request_id="r2")
    tx.forgets.set_state(first.campaign_id, C.CONVERGED)
    assert [row.generation for row in tx.forgets.list()] == [1, 2]
    assert tx.forgets.list_open() == [second]
    assert tx.forgets.by_tag(BOB) == [second]
    assert len(tx.forgets.by_tag(ALICE)) == 2
    assert tx.forgets.by_generation(2) == second
    for missing in (lambda: tx.forgets.get("0" * 26), lambda: tx.forgets.by_generation(3)):
        with pytest.raises(NotFoundError):
            missing()


def test_times_of_a_campaign_follow_its_state(store, commit, clock):
    with store.transaction() as tx:
        campaign_id = commit(tx, ALICE).campaign_id
        tx.forgets.set_state(campaign_id, C.SUPPRESSING)
        assert tx.forgets.get(campaign_id).seconds_to_suppress is None
    clock.now_ms += 1500
    with store.transaction() as tx:
        tx.forgets.set_state(campaign_id, C.ERASING)
    clock.now_ms += 1500
    with store.transaction() as tx:
        row = tx.forgets.set_state(campaign_id, C.CONVERGED)
        assert (row.seconds_to_suppress, row.seconds_to_verify) == (1.5, 3.0)
        reopened = tx.forgets.set_state(campaign_id, C.ERASING)
        assert (reopened.seconds_to_suppress, reopened.seconds_to_verify) == (1.5, None)


def test_a_campaign_takes_legal_steps_only_and_repeats_are_free(tx, commit):
    campaign = commit(tx, ALICE)
    erasing = tx.forgets.set_state(campaign.campaign_id, C.ERASING)
    assert tx.forgets.set_state(campaign.campaign_id, C.ERASING) == erasing
    with pytest.raises(IllegalTransitionError):
        tx.forgets.set_state(campaign.campaign_id, C.SUPPRESSING)


def test_a_campaign_that_changed_meanwhile_is_a_conflict(tx, commit):
    read = commit(tx, ALICE)
    tx.forgets.set_repair_job(read.campaign_id, "0" * 26)
    with pytest.raises(VersionConflictError, match="since version 1"):
        tx.forgets.set_state(read.campaign_id, C.ERASING, expected_version=read.version)


# Executions


def test_the_whole_way_of_an_execution_leaves_its_events(tx, commit):
    campaign = commit(tx, ALICE)
    order(tx, campaign, "n1")
    tx.forgets.set_execution(campaign.campaign_id, "n1", S.APPLIED, receipt=b"receipt")
    row = moved(tx, campaign.campaign_id, "n1", S.VERIFIED, "checked")
    assert (row.challenge_nonce, row.expected_probes, row.receipt) == (b"nonce", ("", BOB), b"receipt")
    assert row.version == 5
    events = tx.forgets.events(campaign.campaign_id, "n1")
    assert [(event.from_state, event.to_state, event.detail) for event in events] == [
        (None, S.PENDING, "committed"),
        (S.PENDING, S.SUPPRESSED, ""),
        (S.SUPPRESSED, S.APPLYING, ""),
        (S.APPLYING, S.APPLIED, ""),
        (S.APPLIED, S.VERIFIED, "checked"),
    ]
    assert len(tx.forgets.events(campaign.campaign_id)) == 6


def test_an_illegal_step_changes_nothing(tx, commit):
    campaign = commit(tx, ALICE)
    with pytest.raises(IllegalTransitionError, match="from pending to verified"):
        tx.forgets.set_execution(campaign.campaign_id, "n1", S.VERIFIED, receipt=b"receipt")
    assert tx.forgets.execution(campaign.campaign_id, "n1").version == 1
    assert len(tx.forgets.events(campaign.campaign_id, "n1")) == 1


def test_an_order_needs_a_challenge_and_a_claim_a_receipt(tx, commit):
    campaign = commit(tx, ALICE)
    tx.forgets.set_execution(campaign.campaign_id, "n1", S.SUPPRESSED)
    with pytest.raises(ConflictError, match="without a challenge"):
        tx.forgets.set_execution(campaign.campaign_id, "n1", S.APPLYING)
    with pytest.raises(ConflictError, match="without a receipt"):
        tx.forgets.set_execution(campaign.campaign_id, "n1", S.APPLIED)


def test_a_repeated_message_leaves_no_second_event(tx, commit):
    campaign = commit(tx, ALICE)
    for _ in range(3):
        tx.forgets.set_execution(campaign.campaign_id, "n1", S.SUPPRESSED)
    assert len(tx.forgets.events(campaign.campaign_id, "n1")) == 2


def test_a_restored_node_loses_its_receipt(tx, commit):
    campaign = commit(tx, ALICE)
    order(tx, campaign, "n1")
    tx.forgets.set_execution(campaign.campaign_id, "n1", S.APPLIED, receipt=b"receipt")
    tx.forgets.set_execution(campaign.campaign_id, "n1", S.VERIFIED)
    row = moved(tx, campaign.campaign_id, "n1", S.PENDING, "reports generation 0")
    assert (row.challenge_nonce, row.expected_probes, row.receipt) == (None, None, None)


def test_a_held_node_can_be_ordered_anew_with_another_challenge(tx, commit):
    campaign = commit(tx, ALICE)
    order(tx, campaign, "n1")
    held = moved(tx, campaign.campaign_id, "n1", S.HELD, "probe answers", receipt=b"bad")
    assert held.receipt == b"bad"
    row = moved(tx, campaign.campaign_id, "n1", S.APPLYING, challenge_nonce=b"second")
    assert row.challenge_nonce == b"second"


def test_an_execution_that_changed_meanwhile_is_a_conflict(tx, commit):
    campaign = commit(tx, ALICE)
    read = tx.forgets.execution(campaign.campaign_id, "n1")
    tx.forgets.set_execution(campaign.campaign_id, "n1", S.SUPPRESSED)
    with pytest.raises(VersionConflictError):
        tx.forgets.set_execution(campaign.campaign_id, "n1", S.HELD, expected_version=read.version)


def test_executions_of_a_node_by_generation_and_state(tx, commit):
    first, second, third = (commit(tx, ALICE, request_id=f"r{n}") for n in range(3))
    tx.forgets.set_execution(second.campaign_id, "n1", S.SUPPRESSED)

    def generations(**conditions):
        return [row.generation for row in tx.forgets.executions_of("n1", **conditions)]

    assert generations() == [first.generation, second.generation, third.generation]
    assert generations(through=2) == [1, 2]
    assert generations(above=1) == [2, 3]
    assert generations(through=2, states={S.PENDING}) == [1]
    assert generations(states=set()) == []


def test_a_node_that_enrols_late_gets_every_campaign_once(tx, commit, identity):
    commit(tx, ALICE)
    commit(tx, BOB, request_id="r2")
    tx.nodes.enroll(identity("n3"))
    assert [row.generation for row in tx.forgets.join("n3")] == [1, 2]
    assert [row.version for row in tx.forgets.join("n3")] == [1, 1]
    assert {row.state for row in tx.forgets.executions_of("n3")} == {S.PENDING}


def test_an_execution_that_is_not_there_is_not_found(tx, commit):
    tx.nodes.retire("n2", "stolen")
    campaign = commit(tx, ALICE)
    with pytest.raises(NotFoundError, match="no execution on node 'n2'"):
        tx.forgets.set_execution(campaign.campaign_id, "n2", S.SUPPRESSED)


# Nodes that are given up


def test_returns_of_a_lost_node_are_counted_by_forget(store, commit, clock):
    with store.transaction() as tx:
        first = commit(tx, ALICE, request_id="r1").campaign_id
        commit(tx, BOB, request_id="r2")
    for back in (S.PENDING, S.SUPPRESSED):
        clock.now_ms += 1000
        with store.transaction() as tx:
            tx.forgets.set_execution(first, "n1", S.LOST, "gone")
            tx.forgets.set_execution(first, "n1", back, "it came back")
    with store.transaction() as tx:
        returns = {
            (row.campaign_id == first, node_id): (row.returns, row.returned_at_ms)
            for node_id in ("n1", "n2")
            for row in tx.forgets.executions_of(node_id)
        }
    never = (0, None)
    assert returns == {(True, "n1"): (2, clock.now_ms), (False, "n1"): never, (True, "n2"): never, (False, "n2"): never}


def test_a_lost_node_that_was_retired_has_not_come_back(tx, commit):
    campaign_id = commit(tx, ALICE).campaign_id
    tx.forgets.set_execution(campaign_id, "n1", S.LOST, "gone")
    assert moved(tx, campaign_id, "n1", S.RETIRED, "stolen").returns == 0


# Executions that are counted, and found by their state


def test_executions_are_counted_by_state(tx, commit):
    first, second = (commit(tx, ALICE, request_id=name).campaign_id for name in ("r1", "r2"))
    tx.forgets.set_execution(first, "n1", S.SUPPRESSED)
    assert tx.forgets.counts(first) == {S.SUPPRESSED: 1, S.PENDING: 1}
    assert tx.forgets.counts(second) == {S.PENDING: 2}
    assert tx.forgets.counts() == {S.SUPPRESSED: 1, S.PENDING: 3}
    assert tx.forgets.counts("nobody") == {}


def test_more_nodes_than_are_read_at_once_are_found_once_each(tx, commit, identity, monkeypatch):
    monkeypatch.setattr("fleet.store.execution_states._IDS_AT_ONCE", 2)
    nodes = [f"m{number}" for number in range(5)]
    for node_id in nodes:
        tx.nodes.enroll(identity(node_id))
    assert list(tx.forgets.pending(commit(tx, ALICE).campaign_id)) == [*nodes, "n1", "n2"]


def test_a_node_that_goes_back_again_and_again_is_the_last_to_be_ordered(tx, commit):
    campaign_id = commit(tx, ALICE).campaign_id
    for target in (S.SUPPRESSED, S.PENDING) * 2:
        tx.forgets.set_execution(campaign_id, "n1", target, "restored from a backup")
    for node_id in ("n1", "n2"):
        tx.forgets.set_execution(campaign_id, node_id, S.SUPPRESSED)
    assert list(tx.forgets.suppressed(campaign_id, 0)) == ["n2", "n1"]


def test_orders_are_due_for_sound_nodes_that_run_the_revision(tx, commit):
    campaign_id = commit(tx, ALICE).campaign_id
    for node_id in ("n1", "n2"):
        tx.forgets.set_execution(campaign_id, node_id, S.SUPPRESSED)
    tx.nodes.touch("n1", revision=3)
    assert list(tx.forgets.suppressed(campaign_id, 3)) == ["n1"]
    assert list(tx.forgets.suppressed(campaign_id, None)) == ["n1", "n2"]
    tx.nodes.hold("n1", "it lies")
    assert list(tx.forgets.suppressed(campaign_id, 3)) == []
    assert list(tx.forgets.awaited(campaign_id)) == ["n2"]


def test_an_order_that_nobody_has_answered_for_long_is_not_about_to_be(store, commit, clock):
    with store.transaction() as tx:
        campaign = commit(tx, ALICE)
        order(tx, campaign, "n1")
    clock.now_ms += 1000
    with store.transaction() as tx:
        assert list(tx.forgets.ordered_since(campaign.campaign_id, clock.now_ms - 1001, 0)) == ["n1"]
        assert list(tx.forgets.ordered_since(campaign.campaign_id, clock.now_ms - 1000, 0)) == []


def test_only_a_node_that_had_an_order_is_one_whose_order_failed(tx, commit):
    campaign = commit(tx, ALICE)
    order(tx, campaign, "n1")
    for node_id in ("n1", "n2"):
        tx.forgets.set_execution(campaign.campaign_id, node_id, S.HELD, "it lies")
    assert tx.forgets.failed_orders(campaign.campaign_id) == 1


def test_a_node_is_overdue_once_it_was_silent_and_its_lease_is_over(store, commit, clock):
    with store.transaction() as tx:
        commit(tx, ALICE)
        tx.nodes.touch("n1")
    for later_ms, overdue in ((1000, []), (1, ["n1", "n2"])):
        clock.now_ms += later_ms
        with store.transaction() as tx:
            assert tx.forgets.overdue(1000, 100) == overdue
    with store.transaction() as tx:
        tx.nodes.extend_leases(clock.now_ms)
        # It was never heard of, so it has no lease.
        assert tx.forgets.overdue(1000, 100) == ["n2"]


def test_a_node_may_serve_while_a_lease_lasts_that_is_not_written_yet(store, commit, clock):
    now_ms = clock.now_ms
    with store.transaction() as tx:
        campaign = commit(tx, ALICE)
    for node_id, until_ms in (("n1", now_ms + 5), ("n2", now_ms - 1)):
        store.contacts.note(node_id, last_contact_ms=now_ms, lease_until_ms=until_ms)
    with store.snapshot() as tx:
        found = tx.forgets.may_serve(campaign.campaign_id, campaign.generation, {S.PENDING}, 5)
    assert [(row.node_id, row.lease_until_ms) for row in found] == [("n1", now_ms + 5)]


def test_a_lost_node_that_came_back_is_overdue_after_a_lease(store, commit, clock):
    with store.transaction() as tx:
        campaign_id = commit(tx, ALICE).campaign_id
        tx.forgets.set_execution(campaign_id, "n1", S.LOST, "gone")
        tx.forgets.set_execution(campaign_id, "n1", S.PENDING, "it came back")
    clock.now_ms += 101
    with store.transaction() as tx:
        assert tx.forgets.overdue(10_000, 100) == ["n1"]


def test_what_a_lost_node_held_is_still_known_unless_it_comes_back_from_a_backup(tx, commit):
    campaign_id = commit(tx, ALICE).campaign_id
    for node_id in ("n1", "n2"):
        tx.forgets.set_execution(campaign_id, node_id, S.LOST, "gone")
    tx.forgets.forget_holdings("n2")
    held = {node_id: moved(tx, campaign_id, node_id, S.PENDING, "it came back").held for node_id in ("n1", "n2")}
    assert (held["n1"] is None, held["n2"] is None) == (False, True)


def test_only_a_converged_campaign_is_reopened(tx, commit):
    campaign_id = commit(tx, ALICE).campaign_id
    tx.forgets.reopen(campaign_id)
    assert tx.forgets.get(campaign_id).state is C.COMMITTED
    tx.forgets.set_state(campaign_id, C.CONVERGED)
    tx.forgets.reopen(campaign_id)
    assert (tx.forgets.get(campaign_id).state, tx.forgets.get(campaign_id).converged_at_ms) == (C.ERASING, None)
