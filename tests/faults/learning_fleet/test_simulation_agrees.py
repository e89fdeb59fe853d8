"""A simulated fleet and one of real processes agree: people, chips and course of both are those of the story.

What must differ is what is drawn anew in every fleet: its id, keys, tags, canaries. The simulated fleet is given the
id of the real one, since the LoRA's A is drawn from it; people are given the same names before digests are taken, and
canaries are left out. See docs/simulation.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from reram_fleet.crypto.digests import NO_HEAD, NO_LORA, head_digest, lora_digest, subject_digests
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.types_pb2 import Receipt, RevisionContent

from edge_node.config import StateFolder
from edge_node.storage.journal import Journal
from edge_node.storage.record_cipher import RecordCipher
from fleet.domain.learning import JobKind
from fleet.sim.course import Course
from fleet.sim.fleet import SimulatedFleet
from fleet.sim.gallery import load
from hwmodel import Cost, Phase, load_preset
from hwmodel.cost import sram_write
from tests.faults.learning_fleet.story import ROUNDS, Story

pytestmark = pytest.mark.slow

#: The gallery's first forget, with the people and chips of the story.
CHANGES = {
    "fleet.task": "speakers",
    "fleet.nodes": 2,
    "fleet.people": 2,
    "fleet.nodes_per_person": 2,
    "fleet.samples": 8,
    "learning.rounds": ROUNDS,
}
NODES = ("node-1", "node-2")
KEPT, FORGOTTEN = "kept", "forgotten"
#: Sums of floats that were added in another order.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Seen:
    """State of one node at the end, of either fleet."""

    receipt: Receipt
    content: RevisionContent
    costs: Mapping[Phase, Cost]

    @classmethod
    def of(cls, journal: Journal, cipher: RecordCipher, names: Mapping[str, str]) -> Seen:
        """Read a node's journal; who has a tag is called by the name, and whoever has none is left out."""
        row = journal.receipts(1)[-1]
        active = journal.active_revision()
        assert active is not None
        content = cipher.open_revision(active)
        receipt = Receipt.FromString(types.Envelope.FromString(row.envelope).payload)
        return cls(receipt, _named(content, names), journal.costs())

    @property
    def digests(self) -> Mapping[str, Any]:
        """Digests of everything that the node runs."""
        return {
            "people": subject_digests(self.content.subjects),
            "lora": lora_digest(self.content.shared_lora),
            "head": head_digest(self.content.head),
        }


def _named(content: RevisionContent, names: Mapping[str, str]) -> RevisionContent:
    """Return a revision with names of people in place of tags, and without canaries."""
    found = RevisionContent(shared_lora=content.shared_lora, head=content.head)
    found.subjects.extend(subject for subject in content.subjects if subject.subject_tag in names)
    for row in [*found.subjects, *found.shared_lora.rows]:
        row.subject_tag = names[row.subject_tag]
    found.head.subject_tags[:] = [names[tag] for tag in found.head.subject_tags]
    return found


@dataclass(frozen=True)
class SeenFleet:
    """End of a fleet's course: its nodes, verdicts by adapter kind, states of executions."""

    nodes: Mapping[str, Seen]
    verdicts: Mapping[str, operator.VerdictClass]
    states: Mapping[str, str]
    #: Joules of inference of each node when everybody was enrolled, before anybody was asked for.
    enrolled_j: Mapping[str, float]
    #: Joules of a node's last round of training; of the real fleet nobody measured it.
    round_j: float | None = None


@pytest.fixture(scope="module")
def real(story: Story, tmp_path_factory) -> SeenFleet:
    """The story's fleet, read from the copy of its files: other tests went on with it."""
    names, nodes = {story.kept: KEPT, story.forgotten: FORGOTTEN}, {}
    for name in NODES:
        folder = StateFolder(shutil.copytree(story.now.node(name), tmp_path_factory.mktemp("copy") / name))
        journal = Journal.open(folder.journal, name)
        nodes[name] = Seen.of(journal, RecordCipher.of(folder, name), names)
        journal.close()
    executions = story.rig.client.list_executions(story.forget.campaign_id).items
    return SeenFleet(
        nodes,
        {verdict.adapter_kind: verdict.verdict for verdict in story.forget.verdicts},
        {execution.node_id: execution.state for execution in executions},
        {name: seen.costs[Phase.INFER].energy_j for name, seen in nodes.items()},
    )


@pytest.fixture(scope="module")
def simulated(story: Story, tmp_path_factory) -> SeenFleet:
    """The gallery's first forget of the story's people on the story's chips."""
    seed, scenario = story.rig.fleet.settings.fleet_seed, load("first-forget").changed(CHANGES)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fleet.coordinator.serve.new_id", lambda now_ms, draw: story.rig.client.get_fleet().fleet_id)
        fleet = SimulatedFleet(scenario, seed, tmp_path_factory.mktemp("simulated"), 2, lambda text: None)
    members = {member.node_id: member for member in fleet.members.values()}
    enrolled_j = {
        name: member.engine.ledger.totals(member.node_index)[Phase.INFER].energy_j for name, member in members.items()
    }
    Course(fleet, scenario, seed)
    fleet.scheduler.run_until(fleet.recorder.begun_s + scenario.time.duration)
    fleet.recorder.forgets()
    trained = [row for row in fleet.recorder.tables["rounds"] if row["kind"] == JobKind.TRAIN_LORA.value]
    names = {person.tag: FORGOTTEN if person.forgotten else KEPT for person in fleet.roll.people}
    nodes = {}
    for name, member in members.items():
        member.node.node.save_counters()
        context = member.node.node.context
        nodes[name] = Seen.of(context.journal, context.cipher, names)
    (campaign,) = fleet.plane.read(lambda unit: list(unit.tx.forgets.list()))
    shown = fleet.plane.read(lambda unit: unit.views.forget(campaign))
    executions = fleet.plane.read(lambda unit: list(unit.tx.forgets.executions(campaign.campaign_id)))
    return SeenFleet(
        nodes,
        {verdict.adapter_kind: verdict.verdict for verdict in shown.verdicts},
        {execution.node_id: execution.state.value for execution in executions},
        enrolled_j,
        trained[-1]["joules"] / len(NODES),
    )


@pytest.fixture(scope="module", params=NODES)
def node(request) -> str:
    return str(request.param)


def test_verdicts_and_states_are_the_same(real: SeenFleet, simulated: SeenFleet) -> None:
    assert set(real.verdicts) == {"subject-adapter", "closed-form-head", "shared-lora"}
    assert simulated.verdicts == real.verdicts
    assert simulated.states == real.states == dict.fromkeys(NODES, "verified")


def test_people_lora_and_head_have_the_same_digests(real: SeenFleet, simulated: SeenFleet, node: str) -> None:
    found = real.nodes[node].digests
    assert [entry.subject_tag for entry in found["people"]] == [KEPT]
    assert found["lora"] != NO_LORA
    assert found["head"] != NO_HEAD
    assert simulated.nodes[node].digests == found


@pytest.mark.parametrize(
    "what",
    ["outcome", "subject_adapters_erased", "lora_rows_erased", "code_samples_erased", "keys_destroyed", "reram_writes"],
)
def test_receipts_count_the_same(real: SeenFleet, simulated: SeenFleet, node: str, what: str) -> None:
    assert getattr(simulated.nodes[node].receipt, what) == getattr(real.nodes[node].receipt, what)


def test_forget_takes_the_same_joules_by_phase(real: SeenFleet, simulated: SeenFleet, node: str) -> None:
    found, other = ({cost.phase: cost for cost in fleet.nodes[node].receipt.costs} for fleet in (real, simulated))
    assert set(found) == set(other) >= {types.ENERGY_PHASE_ERASE, types.ENERGY_PHASE_VERIFY, types.ENERGY_PHASE_TRAIN}
    for phase in set(found) - {types.ENERGY_PHASE_RADIO}:
        assert other[phase].energy_j == pytest.approx(found[phase].energy_j, rel=ROUNDING)
        assert other[phase].bytes == found[phase].bytes
    # Times and ids are written with as many bytes as they need.
    radio = types.ENERGY_PHASE_RADIO
    assert other[radio].energy_j == pytest.approx(found[radio].energy_j, rel=0.01)


def test_chip_takes_the_same_to_be_programmed_and_to_enrol_people(
    real: SeenFleet, simulated: SeenFleet, node: str
) -> None:
    assert simulated.enrolled_j[node] == pytest.approx(real.enrolled_j[node], rel=ROUNDING)
    found, other = (fleet.nodes[node].costs[Phase.PROGRAM] for fleet in (real, simulated))
    assert other.cell_writes == found.cell_writes > 0
    # Into how many revisions the contributions were gathered, each written into SRAM, is a matter of time.
    written = sram_write(load_preset(load("first-forget").fleet.preset), abs(other.bytes - found.bytes)).energy_j
    assert abs(other.energy_j - found.energy_j) == pytest.approx(written, rel=1e-6)


def test_learning_takes_the_same_but_for_a_round_that_the_superlink_took_along(
    real: SeenFleet, simulated: SeenFleet, node: str
) -> None:
    again_j = real.nodes[node].costs[Phase.TRAIN].energy_j - simulated.nodes[node].costs[Phase.TRAIN].energy_j
    # It was killed after the first of two rounds: whoever had computed the second by then did so twice.
    assert again_j == pytest.approx(0, abs=1e-12) or again_j == pytest.approx(simulated.round_j, rel=1e-6)
