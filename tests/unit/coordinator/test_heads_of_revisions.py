"""The fleet's closed-form head: a function of who is enrolled now and of the public codes of a few nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from reram_fleet.crypto.digests import head_digest
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import heads
from fleet.coordinator.metrics import registry
from fleet.coordinator.testing import FEATURES, SimulatedNode, SteppedCoordinator
from fleet.coordinator.views import forget_view
from fleet.heads.enrolment import CodeSum, SufficientStatistics
from fleet.heads.packing import pack_statistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics, total
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, kinds, newest, serve

#: Four public people, three samples each.
PERSON = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def captured(seed: int, samples: int = 3, largest: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest, (samples, FEATURES)).astype(np.int32)


def public_of(seed: int) -> np.ndarray:
    return np.random.default_rng(900 + seed).integers(-3000, 3000, (len(PERSON), FEATURES)).astype(np.int16)


def make_node(
    coordinator: SteppedCoordinator, node_id: str, people: dict[str, int], *, public: int | None = 0
) -> SimulatedNode:
    """Enrol a node with people (tag to seed of their codes); connect it with `converse`."""
    node = SimulatedNode(node_id)
    coordinator.enroll(node)
    for tag, seed in people.items():
        node.capture_codes(tag, captured(seed))
    if public is not None:
        node.show_public(public_of(public), PERSON)
    return node


@pytest.fixture
def pair(coordinator: SteppedCoordinator) -> tuple[SimulatedNode, SimulatedNode]:
    """Two nodes: everybody but Deb is known to one, Bob to both."""
    first = make_node(coordinator, "node-1", {ANN: 1, BOB: 2}, public=1)
    second = make_node(coordinator, "node-2", {BOB: 3, CEM: 4}, public=2)
    coordinator.converse(first, second)
    return first, second


def expected_head(people: dict[str, list[int]], public: list[int]) -> types.ClosedFormHead:
    """Solve, from codes, what the coordinator must come to."""
    statistics = {tag: [HeadStatistics.of(captured(s)) for s in seeds] for tag, seeds in people.items()}
    together = {tag: total(parts, FEATURES) for tag, parts in statistics.items()}
    codes = np.stack([public_of(seed) for seed in public]).astype(np.int32)
    solved = SufficientStatistics(
        PublicCodes(codes, np.array(PERSON)),
        total(list(together.values()), FEATURES),
        {tag: CodeSum(s.code_sum, s.count) for tag, s in together.items()},
    ).build()
    return types.ClosedFormHead(
        subject_tags=solved.tags,
        features=FEATURES,
        codes=solved.codes.astype("<i4").tobytes(),
        scale_bits=solved.scale_bits,
        threshold=solved.threshold,
    )


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record what each head is solved from."""
    bases: list[bytes] = []
    real = heads._solve

    def recording(coordinator, tx, basis):
        bases.append(basis)
        return real(coordinator, tx, basis)

    monkeypatch.setattr(heads, "_solve", recording)
    return bases


def metric(coordinator: SteppedCoordinator, name: str) -> float | None:
    return registry(coordinator.coordinator).get_sample_value(name)


# Solving


def test_head_is_solved_over_all_people_and_all_nodes(coordinator, pair):
    head = newest(coordinator).head
    assert head == expected_head({ANN: [1], BOB: [2, 3], CEM: [4]}, [1, 2])
    assert metric(coordinator, "fleet_head_people") == 3
    assert metric(coordinator, "fleet_head_unsolved") == 0


def test_manifest_says_whether_there_is_a_head(coordinator, pair):
    with coordinator.transaction() as tx:
        row = tx.revisions.latest()
    manifest = types.RevisionManifest.FromString(types.Envelope.FromString(row.manifest).payload)
    assert manifest.has_head


def test_there_is_no_head_before_some_node_has_sent_public_codes(coordinator):
    silent = make_node(coordinator, "node-1", {ANN: 1, BOB: 2}, public=None)
    coordinator.converse(silent)
    assert {ANN, BOB} <= {s.subject_tag for s in newest(coordinator).subjects}
    assert not newest(coordinator).HasField("head")
    other = make_node(coordinator, "node-2", {}, public=2)
    coordinator.converse(silent, other)
    assert newest(coordinator).head == expected_head({ANN: [1], BOB: [2]}, [2])


def test_person_without_statistics_is_not_in_the_head_but_is_in_the_revision(coordinator, pair):
    pair[0].capture(DEB, captured(5).sum(axis=0).tolist())
    coordinator.converse(*pair)
    content = newest(coordinator)
    assert DEB in {subject.subject_tag for subject in content.subjects}
    assert list(content.head.subject_tags) == [ANN, BOB, CEM]


def test_canaries_are_not_in_the_head(coordinator, pair):
    content = newest(coordinator)
    assert set(content.head.subject_tags) < {subject.subject_tag for subject in content.subjects}


def test_unchanged_books_are_not_solved_again_not_even_after_a_restart(open_coordinator, coordinator, pair, solved):
    for _ in range(3):
        coordinator.step()
    again = open_coordinator()
    again.step()
    assert solved == []
    assert newest(again).head.subject_tags


def test_newcomer_is_solved_for_once(coordinator, pair, solved):
    pair[1].capture_codes(DEB, captured(5))
    coordinator.converse(*pair)
    assert len(solved) == 1
    assert newest(coordinator).head == expected_head({ANN: [1], BOB: [2, 3], CEM: [4], DEB: [5]}, [1, 2])


def test_head_that_cannot_be_solved_is_left_out_said_and_not_tried_again(coordinator, solved):
    # Codes of one: weights so large that they do not fit into int32.
    node = make_node(coordinator, "node-1", {}, public=1)
    node.show_public(np.sign(public_of(1)).astype(np.int16), PERSON)
    node.capture_codes(ANN, np.sign(captured(1)))
    coordinator.converse(node)
    assert not newest(coordinator).HasField("head")
    assert {subject.subject_tag for subject in newest(coordinator).subjects} > {ANN}
    assert metric(coordinator, "fleet_head_unsolved") == 1
    with coordinator.transaction() as tx:
        noted = tx.heads.note_of(tx.revisions.latest().revision)
    assert "int32" in noted.error
    tries = len(solved)
    coordinator.step()
    assert len(solved) == tries


# Ahead of the revision


@pytest.fixture
def ahead(coordinator, pair) -> heads.HeadPrecomputer:
    """Solve ahead from now on, as the reconcile loop does."""
    coordinator.coordinator.head_precomputer = found = heads.HeadPrecomputer(
        coordinator.coordinator.database, coordinator.coordinator.secrets
    )
    return found


def test_head_solved_ahead_is_taken_and_not_solved_again(coordinator, pair, ahead, solved):
    pair[1].capture_codes(DEB, captured(5))
    coordinator.take("node-2", pair[1]._contributions()[0])
    asyncio.run(ahead.prepare())
    coordinator.step()
    assert len(solved) == 1
    assert newest(coordinator).head == expected_head({ANN: [1], BOB: [2, 3], CEM: [4], DEB: [5]}, [1, 2])
    asyncio.run(ahead.prepare())
    assert ahead.solved is None


def test_newcomer_during_a_solve_is_in_the_revision_at_once_and_in_the_head_with_the_next(
    coordinator, pair, ahead, solved
):
    before = newest(coordinator).head
    pair[1].capture_codes(DEB, captured(5))
    asyncio.run(ahead.prepare())
    coordinator.take("node-2", pair[1]._contributions()[0])
    coordinator.step()
    assert solved == []
    assert DEB in {subject.subject_tag for subject in newest(coordinator).subjects}
    assert newest(coordinator).head == before
    asyncio.run(ahead.prepare())
    coordinator.step()
    assert DEB in newest(coordinator).head.subject_tags


def test_head_that_knows_a_forgotten_person_is_never_kept_nor_one_that_was_solved_ahead(coordinator, pair, ahead):
    pair[1].capture_codes(DEB, captured(5))
    coordinator.take("node-2", pair[1]._contributions()[0])
    asyncio.run(ahead.prepare())
    assert BOB in ahead.solved.head.subject_tags
    coordinator.forget("r1", BOB)
    serve(coordinator, *pair)
    coordinator.step()
    assert newest(coordinator).head == expected_head({ANN: [1], CEM: [4], DEB: [5]}, [1, 2])


def test_person_forgotten_during_a_solve_ends_it_without_an_error(coordinator, pair, ahead, monkeypatch):
    pair[1].capture_codes(DEB, captured(5))
    coordinator.take("node-2", pair[1]._contributions()[0])
    real = heads._basis

    def forgotten_meanwhile(tx):
        monkeypatch.setattr(heads, "_basis", real)
        basis = real(tx)
        coordinator.forget("r1", BOB)
        return basis

    monkeypatch.setattr(heads, "_basis", forgotten_meanwhile)
    asyncio.run(ahead.prepare())
    assert ahead.solved is None


# What nodes send


def test_public_codes_are_asked_for_once_there_is_somebody_to_solve_for(coordinator):
    node = make_node(coordinator, "node-1", {})
    coordinator.converse(node)
    assert "public_codes_request" not in kinds(coordinator.outbox("node-1"))
    node.capture_codes(ANN, captured(1))
    (contribution,) = node._contributions()
    coordinator.take("node-1", contribution)
    assert "public_codes_request" in kinds(coordinator.outbox("node-1"))
    assert "public_codes_request" not in kinds(coordinator.outbox("node-1"))


def test_eight_nodes_are_asked_in_order_of_their_ids_and_a_later_one_displaces_none(coordinator):
    nodes = [make_node(coordinator, f"node-{k}", {ANN: 1} if k == 9 else {}, public=k) for k in range(10, 0, -1)]
    coordinator.converse(*nodes)
    first = make_node(coordinator, "node-0", {}, public=0)
    coordinator.converse(first, *nodes)
    with coordinator.transaction() as tx:
        told = [node_id for node_id, _ in tx.heads.public_digests()]
    assert told == sorted(f"node-{k}" for k in range(1, 11))[:8]


def test_node_that_is_asked_again_after_a_reconnect_changes_nothing(coordinator, pair, solved):
    (answer,) = pair[0].receive(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
    assert not coordinator.take("node-1", answer).changed
    coordinator.step()
    assert solved == []


def test_public_codes_that_nobody_asked_for_change_nothing(coordinator, pair, solved):
    """Else one node could have the head solved, and a revision built, again and again."""
    pair[0].show_public(public_of(7), PERSON)
    (answer,) = pair[0].receive(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
    assert not coordinator.take("node-1", answer).changed
    coordinator.step()
    assert solved == []


@pytest.mark.parametrize("how", ["off the diagonal", "nothing squared"])
def test_statistics_that_no_codes_have_do_not_cost_the_fleet_its_head(coordinator, pair, how):
    code_sum = captured(5).sum(axis=0, dtype=np.int64)
    gram = np.zeros((FEATURES, FEATURES), np.int64)
    if how == "off the diagonal":
        gram += 3 * 3000**2
    pair[0].capture(DEB, code_sum.tolist(), 3)
    pair[0].journal.statistics[DEB] = pack_statistics(HeadStatistics(gram, code_sum, 3))
    coordinator.converse(*pair)
    with coordinator.transaction() as tx:
        assert "no sums of squares" in tx.nodes.quarantined("node-1")[0].reason
    assert set(newest(coordinator).head.subject_tags) == {ANN, BOB, CEM}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: setattr(message, "node_id", "node-9"),
        lambda message: setattr(message, "bytes_per_code", 3),
        lambda message: setattr(message, "codes", message.codes[:-1]),
        lambda message: setattr(message, "features", 0),
        lambda message: message.person.append(1),
        lambda message: message.ClearField("person"),
    ],
)
def test_malformed_public_codes_change_nothing(coordinator, spoil: Callable[[wire.PublicCodes], None]):
    node = make_node(coordinator, "node-1", {ANN: 1})
    spoil(node.public)
    coordinator.converse(node)
    with coordinator.transaction() as tx:
        assert tx.heads.public_digests() == []
    assert not newest(coordinator).HasField("head")


@pytest.mark.parametrize("odd", ["node-0", "node-3"])
def test_public_codes_of_other_samples_than_most_nodes_have_are_not_solved_with(coordinator, pair, odd):
    """Also when the odd one out comes first: no single node decides what the public samples are."""
    before = newest(coordinator).head
    third = make_node(coordinator, odd, {})
    third.show_public(public_of(3)[:9], PERSON[:9])
    coordinator.converse(*pair, third)
    assert newest(coordinator).head == before


def test_public_codes_of_a_held_node_are_not_solved_with(coordinator, pair):
    with coordinator.transaction() as tx:
        tx.nodes.hold("node-2", "a false receipt")
        assert [node_id for node_id, _ in tx.heads.public_digests()] == ["node-1"]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"RFH1" + bytes(100),
        pack_statistics(HeadStatistics.of(captured(7))),
        pack_statistics(HeadStatistics.of(captured(1, samples=2))),
        pack_statistics(HeadStatistics.of(captured(1)[:, :4])),
    ],
    ids=["empty", "no statistics", "somebody else's", "fewer samples", "fewer features"],
)
def test_statistics_that_are_not_of_the_adapters_samples_are_refused_with_it(coordinator, packed):
    node = make_node(coordinator, "node-1", {ANN: 1})
    node.journal.statistics[ANN] = packed
    coordinator.connect(node)
    (reply,) = coordinator.take("node-1", node._contributions()[0]).replies
    assert "statistics" in reply.contribution_ack.refusal
    with coordinator.transaction() as tx:
        assert not tx.subjects.contributions()
        assert not tx.heads.sources()


# Forgetting


def test_head_after_a_forget_is_that_of_a_fleet_that_never_knew_the_person(coordinator, tmp_path, pair):
    coordinator.forget("r1", BOB)
    coordinator.converse(*pair)
    after = newest(coordinator).head

    other = SteppedCoordinator(tmp_path / "never")
    try:
        first = make_node(other, "node-1", {ANN: 1}, public=1)
        second = make_node(other, "node-2", {CEM: 4}, public=2)
        other.converse(first, second)
        assert after == newest(other).head
    finally:
        other.close()
    assert list(after.subject_tags) == [ANN, CEM]


def test_forget_is_exact_while_the_nodes_that_met_the_person_are_away(coordinator, pair):
    third = make_node(coordinator, "node-3", {}, public=None)
    coordinator.converse(third)
    for node in pair:
        coordinator.disconnect(node.node_id)
    coordinator.forget("r1", BOB)
    coordinator.converse(third)
    assert newest(coordinator).head == expected_head({ANN: [1], CEM: [4]}, [1, 2])


def test_head_is_gone_as_a_whole_from_the_commit_until_the_next_one_is_built(coordinator, pair):
    coordinator.forget("r1", BOB)
    assert not newest(coordinator).HasField("head")
    assert metric(coordinator, "fleet_head_people") == 0
    serve(coordinator, *pair)
    coordinator.step()
    assert list(newest(coordinator).head.subject_tags) == [ANN, CEM]


def test_head_is_solved_anew_also_if_the_forgotten_was_not_in_it(coordinator, pair):
    """The commit takes the head out of the newest revision, though nothing that it follows from changes."""
    pair[0].capture(DEB, captured(5).sum(axis=0).tolist())
    coordinator.converse(*pair)
    campaign, _ = coordinator.forget("r1", DEB)
    coordinator.converse(*pair)
    assert list(newest(coordinator).head.subject_tags) == [ANN, BOB, CEM]
    assert verdicts(coordinator, campaign) == {"subject-adapter": 1}


def test_everybody_forgotten_leaves_no_head(coordinator, pair):
    campaign, _ = coordinator.forget("r1", ANN, BOB, CEM)
    coordinator.converse(*pair)
    assert not newest(coordinator).HasField("head")
    assert verdicts(coordinator, campaign) == {"subject-adapter": 1, "closed-form-head": 1}


def verdicts(coordinator, campaign):
    with coordinator.transaction() as tx:
        found = forget_view(tx, tx.forgets.get(campaign.campaign_id)).verdicts
    return {verdict.adapter_kind: verdict.verdict for verdict in found}


def test_forget_of_somebody_in_the_head_has_a_verdict_on_it_and_receipts_name_it(coordinator, pair):
    campaign, _ = coordinator.forget("r1", BOB)
    coordinator.converse(*pair)
    assert verdicts(coordinator, campaign) == {"subject-adapter": 1, "closed-form-head": 1}
    with coordinator.transaction() as tx:
        executions = tx.forgets.executions(campaign.campaign_id)
    for execution in executions:
        assert execution.state == "verified"
        receipt = types.Receipt.FromString(types.Envelope.FromString(execution.receipt).payload)
        assert receipt.head_digest == head_digest(newest(coordinator).head)
        (line,) = [line for line in execution.checks if line.name == "closed-form head digest"]
        assert line.got == receipt.head_digest.hex()


def test_node_with_another_head_is_held(coordinator, pair):
    pair[0].amend = lambda receipt: setattr(receipt, "head_digest", b"x" * 32)
    campaign, _ = coordinator.forget("r1", BOB)
    coordinator.converse(*pair)
    with coordinator.transaction() as tx:
        execution = tx.forgets.execution(campaign.campaign_id, "node-1")
    assert execution.state == "held"
    assert "closed-form head digest" in execution.detail


def test_statistics_go_with_the_person_and_stay_with_everybody_else(coordinator, pair):
    with coordinator.transaction() as tx:
        assert {tag for tag, _, _ in tx.heads.sources()} == {ANN, BOB, CEM}
    coordinator.forget("r1", BOB)
    with coordinator.transaction() as tx:
        assert {tag for tag, _, _ in tx.heads.sources()} == {ANN, CEM}
    assert f"subject-{BOB}" not in coordinator.coordinator.secrets.ids()
