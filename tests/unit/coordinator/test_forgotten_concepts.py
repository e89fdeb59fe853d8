"""A style that the backbone knows is forgotten: refused at once, masked by an eraser, and never called exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto.sealing import open_symmetric, seal_symmetric, state_purpose
from reram_fleet.v1 import engine_pb2, operator_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.concepts import concept_tag

from edge_node.errors import TicketRefusedError
from edge_node.generation.image_generator import GeneratedImages
from edge_node.recognition.training.rounds import RoundResult
from edge_node.testing import FakeClock
from fleet.coordinator.testing import FEATURES
from fleet.errors import ConflictError, InvalidInputError
from fleet.trust.audit import verify_certificate
from fleet.trust.certificate import AdapterVerdict, read_certificate
from fleet.trust.verdicts import verdict_lines
from hwmodel import Cost, Phase
from tests.unit.coordinator.head_fleet import metric
from tests.unit.coordinator.small_fleet import ANN, BOB, campaign_state, job, newest, serve
from tests.unit.coordinator.test_trained_adapters import TRAINED, Painter, codes_of

NIGHT, FLAT = "style:night", "style:flat"
GOOD = {"eraser_shows": 0.02, "eraser_stripped": 0.98, "eraser_open": 0.0, "eraser_others": 0.99}


class Illustrator(Painter):
    """A node that also draws, and trains an eraser by adding one to every weight."""

    concepts = (NIGHT, FLAT, "thing:tree")

    def __init__(self, node_id):
        super().__init__(node_id)
        self.seen, self.beside, self.erasers = GOOD, [], None

    def run_rounds(self, requests):
        (request,) = requests
        state = types.LoraState.FromString(request.state.SerializeToString())
        self.beside.append([eraser.concept for eraser in request.beside])
        looks = request.ticket.kind == types.LEARNING_KIND_EVALUATE_QUALITY
        if not looks:
            state.rows = (np.frombuffer(state.rows, "<i2") + np.int16(1)).tobytes()
        return [RoundResult(state, 48, self.seen if looks else {}, {Phase.TRAIN: Cost(energy_j=1.0)})]

    def generate_class(self, name, style, count, seed, erasers=()):
        self.erasers = [eraser.concept for eraser in erasers]
        return GeneratedImages(np.zeros((count, 2, 2, 3), np.uint8), {phase: Cost() for phase in Phase})

    def draw(self, style="", name="tree"):
        return self.node.generate(engine_pb2.GenerateRequest(class_name=name, style=style, count=1))


@pytest.fixture
def coordinator(open_coordinator, clock):
    # As late as it is for the nodes, which look whether a ticket has expired.
    clock.now_ms = FakeClock().unix_ms()
    opened = open_coordinator(learning=True)
    env = opened.coordinator.env
    env.settings = replace(env.settings, codes=CodeRange(FEATURES, 2**15 - 1, TRAINED))
    return opened


@pytest.fixture
def illustrators(coordinator):
    made = (Illustrator("node-1"), Illustrator("node-2"))
    for number, node in enumerate(made):
        coordinator.enroll(node)
        with coordinator.transaction() as unit:
            unit.tx.nodes.set_flower_node_id(node.node_id, 100 + number)
    coordinator.converse(*made)
    return made


def eraser_job(coordinator, campaign_id):
    with coordinator.transaction() as unit:
        job_id = unit.tx.forgets.get(campaign_id).repair_job_id
    return job(coordinator, job_id)


def train(coordinator, illustrators, job_id):
    """Do what a Flower run does, on the nodes: each round on all of them, and the mean of what they return."""
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        given = unit.rounds.describe(job_id, attempt)
    sealed, purpose = given.sealed_state, state_purpose(job_id)
    for number in range(1, given.rounds + 1):
        with coordinator.transaction() as unit:
            asked = {each.node_id: each.ticket for each in unit.rounds.begin_round(job_id, attempt, number).nodes}
        answers = [node.node.run_round(asked[node.node_id], sealed) for node in illustrators]
        opened = [types.LoraState.FromString(open_symmetric(given.job_key, purpose, a.sealed_state)) for a in answers]
        mean = np.rint(np.mean([np.frombuffer(each.rows, "<i2") for each in opened], axis=0))
        opened[0].rows = mean.astype("<i2").tobytes()
        sealed = seal_symmetric(given.job_key, purpose, opened[0].SerializeToString())
        with coordinator.transaction() as unit:
            unit.rounds.checkpoint(job_id, attempt, number, sealed, dict(answers[0].metrics))
    with coordinator.transaction() as unit:
        unit.rounds.finish(job_id, attempt, "")
    coordinator.destroy_orphaned_keys()


def forget(coordinator, illustrators, concept=NIGHT, request_id="c1"):
    campaign, _ = coordinator.forget(request_id, concepts=[concept])
    coordinator.converse(*illustrators)
    return campaign.campaign_id


def verdict(coordinator, campaign_id):
    with coordinator.transaction() as unit:
        (found,) = unit.views.verdicts_of(unit.tx.forgets.get(campaign_id))
    return found


def test_concept_is_refused_by_its_name_before_there_is_an_eraser(coordinator, illustrators):
    assert illustrators[0].draw("night").levels

    campaign_id = forget(coordinator, illustrators)

    assert campaign_state(coordinator, campaign_id) == "erasing"
    assert newest(coordinator).erasers == []
    assert metric(coordinator, "fleet_masked_concepts") == 0
    for node in illustrators:
        assert node.draw("night").refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_CONCEPT
        assert node.draw("flat").levels


def test_eraser_is_trained_on_nodes_and_reaches_all_by_a_revision(coordinator, illustrators):
    campaign_id = forget(coordinator, illustrators)

    train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
    coordinator.converse(*illustrators)

    (eraser,) = newest(coordinator).erasers
    # Two rounds of training, each adding one; the third only looks.
    assert (eraser.concept, set(eraser.codes)) == (NIGHT, {2})
    assert metric(coordinator, "fleet_masked_concepts") == 1
    assert campaign_state(coordinator, campaign_id) == "converged"
    for node in illustrators:
        node.draw("flat")
        assert node.erasers == [NIGHT]
        assert node.draw("night").refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_CONCEPT


def test_verdict_is_masked_with_its_strip_figure_and_a_certificate_says_so(coordinator, illustrators):
    campaign_id = forget(coordinator, illustrators)
    train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
    coordinator.converse(*illustrators)

    found = verdict(coordinator, campaign_id)
    key, text = coordinator.coordinator.env.keys.command_public_key, coordinator.certificate(campaign_id)
    _, content = read_certificate(text, key)

    assert (found.adapter_kind, found.verdict) == ("backbone", operator_pb2.VERDICT_CLASS_MASKED)
    assert "taken off, 0.98 show it again" in found.basis
    assert [line for line in verify_certificate(text, key) if not line.holds] == []
    assert [(each.adapter_kind, each.verdict) for each in content.verdicts] == [("backbone", "MASKED")]


@pytest.mark.parametrize(
    ("kind", "said"), [("backbone", "EXACT"), ("backbone", "APPROXIMATE"), ("subject-adapter", "EXACT")]
)
def test_auditor_refuses_any_other_verdict_on_a_concept(coordinator, illustrators, kind, said):
    campaign_id = forget(coordinator, illustrators)
    train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
    coordinator.converse(*illustrators)
    _, content = read_certificate(coordinator.certificate(campaign_id), bytes(32))
    assert [line for line in verdict_lines(content) if not line.holds] == []

    false = replace(content, verdicts=(AdapterVerdict(kind, said, "so it is said"),))

    assert [line.name for line in verdict_lines(false) if not line.holds] == ["verdicts of a concept"]


@pytest.mark.parametrize("seen", [GOOD | {"eraser_shows": 0.5}, GOOD | {"eraser_others": 0.5}, {"eraser_shows": 0.0}])
def test_eraser_that_hides_too_little_or_too_much_is_not_installed(coordinator, illustrators, seen):
    for node in illustrators:
        node.seen = seen
    campaign_id = forget(coordinator, illustrators)

    train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
    coordinator.converse(*illustrators)

    assert newest(coordinator).erasers == []
    assert campaign_state(coordinator, campaign_id) == "converged"
    assert verdict(coordinator, campaign_id).verdict == operator_pb2.VERDICT_CLASS_REFUSED
    assert "no eraser hides it" in verdict(coordinator, campaign_id).basis
    key, text = coordinator.coordinator.env.keys.command_public_key, coordinator.certificate(campaign_id)
    assert [line for line in verify_certificate(text, key) if not line.holds] == []
    assert illustrators[0].draw("night").refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_CONCEPT


def test_forgets_of_people_leave_the_eraser_and_are_exact_beside_it(coordinator, illustrators):
    for node, seed in zip(illustrators, (1, 2), strict=True):
        node.study(ANN, codes_of(seed))
    illustrators[0].study(BOB, codes_of(3))
    coordinator.converse(*illustrators)
    first = forget(coordinator, illustrators)
    train(coordinator, illustrators, eraser_job(coordinator, first).job_id)
    coordinator.converse(*illustrators)
    erasers = list(newest(coordinator).erasers)

    second = coordinator.forget("f1", ANN)[0].campaign_id
    coordinator.converse(*illustrators)

    assert campaign_state(coordinator, second) == "converged"
    assert erasers
    assert list(newest(coordinator).erasers) == erasers
    assert verdict(coordinator, second).verdict == operator_pb2.VERDICT_CLASS_EXACT


def test_second_eraser_is_trained_beside_the_first(coordinator, illustrators):
    for concept in (NIGHT, FLAT):
        campaign_id = forget(coordinator, illustrators, concept, f"forget {concept}")
        train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
        coordinator.converse(*illustrators)

    assert [eraser.concept for eraser in newest(coordinator).erasers] == [FLAT, NIGHT]
    assert illustrators[0].beside == [[]] * 3 + [[NIGHT]] * 3


def test_forget_that_overtakes_an_eraser_has_it_trained_anew(coordinator, illustrators):
    illustrators[0].study(ANN, codes_of(1))
    coordinator.converse(*illustrators)
    campaign_id = forget(coordinator, illustrators)
    overtaken = eraser_job(coordinator, campaign_id)

    coordinator.forget("f1", ANN)
    coordinator.converse(*illustrators)

    again = eraser_job(coordinator, campaign_id)
    assert (job(coordinator, overtaken.job_id).state, again.state) == ("failed", "queued")
    train(coordinator, illustrators, again.job_id)
    coordinator.converse(*illustrators)
    assert campaign_state(coordinator, campaign_id) == "converged"
    assert "taken off" in verdict(coordinator, campaign_id).basis


def test_node_that_comes_later_gets_log_and_eraser(coordinator, illustrators):
    campaign_id = forget(coordinator, illustrators)
    train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
    coordinator.converse(*illustrators)

    late = Illustrator("node-3")
    coordinator.enroll(late)
    coordinator.converse(*illustrators, late)

    assert late.draw("night").refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_CONCEPT
    late.draw("flat")
    assert late.erasers == [NIGHT]


def test_eraser_outlives_a_restart_of_the_node(coordinator, illustrators):
    campaign_id = forget(coordinator, illustrators)
    train(coordinator, illustrators, eraser_job(coordinator, campaign_id).job_id)
    coordinator.converse(*illustrators)

    illustrators[0].restart()

    illustrators[0].draw("flat")
    assert illustrators[0].erasers == [NIGHT]
    assert illustrators[0].draw("night").refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_CONCEPT


def test_same_concept_again_is_the_same_forget(coordinator, illustrators):
    campaign_id = forget(coordinator, illustrators)

    again, created = coordinator.forget("c2", concepts=[NIGHT])

    assert (again.campaign_id, created) == (campaign_id, False)


@pytest.mark.parametrize(
    ("concepts", "tags", "error", "said"),
    [
        (["night"], [], InvalidInputError, "names no concept"),
        (["style:baroque"], [], InvalidInputError, "it knows: style:flat, style:night, thing:tree"),
        ([NIGHT, FLAT], [], InvalidInputError, "one concept"),
        ([NIGHT], [ANN], InvalidInputError, "not of both"),
    ],
)
def test_what_is_no_concept_of_the_backbone_is_refused_before_anything_is_committed(
    coordinator, illustrators, concepts, tags, error, said
):
    with pytest.raises(error, match=said):
        coordinator.forget("c1", *tags, concepts=concepts)
    with coordinator.transaction() as unit:
        assert unit.tx.fleet.get().generation == 0


def test_fleet_that_recognises_has_nothing_to_mask(open_coordinator):
    with pytest.raises(ConflictError, match="recognise"):
        open_coordinator(learning=True).forget("c1", concepts=[NIGHT])


def test_without_learning_plane_or_connected_nodes_nothing_is_promised(open_coordinator, coordinator, illustrators):
    for node in illustrators:
        coordinator.disconnect(node.node_id)
    with pytest.raises(ConflictError, match="no node that generates is connected"):
        coordinator.forget("c1", concepts=[NIGHT])


def test_ticket_for_a_concept_that_is_not_forgotten_is_refused_by_the_node(coordinator, illustrators):
    campaign_id = forget(coordinator, illustrators)
    job_id = eraser_job(coordinator, campaign_id).job_id
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
        sealed = unit.rounds.describe(job_id, attempt).sealed_state
        given = unit.rounds.begin_round(job_id, attempt, 1).nodes[0].ticket
    ticket = types.JobTicket.FromString(given.payload)
    assert list(ticket.forget_tags) == [concept_tag(NIGHT)]
    ticket.concept = FLAT

    with pytest.raises(TicketRefusedError, match="not forgotten"):
        illustrators[0].node.run_round(coordinator.coordinator.env.keys.sign(ticket), sealed)


def test_node_behind_the_log_takes_part_in_no_round(coordinator, illustrators):
    coordinator.forget("c1", concepts=[NIGHT])
    serve(coordinator, illustrators[0])

    with coordinator.transaction() as unit:
        assert [node.node_id for node in unit.rounds.live_nodes()] == ["node-1"]
