"""A node that generates, and what its backbone knows and it was told to forget."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.digests import erasers_digest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import engine_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.metrics import NodeFacts
from edge_node.errors import LogRejectedError
from tests.unit.node.generating_device import FEATURES, Device, images

NIGHT, THING = "style:night", "thing:d1"
CONCEPT = engine_pb2.TAG_REFUSAL_FORGOTTEN_CONCEPT


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    made.node.close()


def eraser(concept=NIGHT, code=1):
    return types.Eraser(concept=concept, codes=[code] * FEATURES)


def test_forgotten_style_is_refused_for_public_and_private_classes_with_and_without_a_lease(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    device.forget(concepts=[NIGHT])
    assert device.generate(name="d1", style="night").refusal == CONCEPT
    device.lease()

    assert device.generate(name="d1", style="night").refusal == CONCEPT
    assert device.generate(tag, style="night").refusal == CONCEPT
    assert device.generate(tag, style="flat").levels
    assert device.generate(name="d1").levels


def test_forgotten_thing_is_refused_by_its_name_also_after_a_restart(device):
    device.forget(concepts=[THING])

    device.restart()

    assert device.generate(name="d1").refusal == CONCEPT
    assert device.generate(name="d2").levels


def test_pictures_of_a_style_that_is_forgotten_meanwhile_are_thrown_away(device):
    device.image_generator.meanwhile = lambda: device.forget(concepts=[NIGHT])

    answer = device.generate(name="d1", style="night")

    assert (answer.refusal, answer.levels) == (CONCEPT, b"")
    assert device.node.inference_counts()[0] == 0


def test_eraser_of_a_revision_acts_until_another_revision_is_without_it(device):
    device.forget(concepts=[NIGHT])
    device.install(1, erasers=[eraser()])
    device.generate(name="d1")
    assert device.image_generator.erased == [NIGHT]
    assert NodeFacts.read(device.node).erasers == 1
    device.restart()
    device.generate(name="d1")
    assert device.image_generator.erased == [NIGHT]

    device.install(2)

    device.generate(name="d1")
    assert device.image_generator.erased == []
    assert NodeFacts.read(device.node).erasers == 0


def test_receipt_names_the_erasers_that_are_active(device):
    device.forget(concepts=[NIGHT])
    device.install(1, erasers=[eraser()])

    receipt = device.erase(1, 1)

    assert receipt.erasers_digest == erasers_digest([eraser()])
    assert receipt.outcome == types.RECEIPT_OUTCOME_NOT_AFFECTED
    assert receipt.reram_writes == 0


def test_person_forgotten_beside_an_eraser_leaves_it_active(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    device.forget(concepts=[NIGHT])
    device.install(1, *device.engine.active_subjects(0), erasers=[eraser()])

    device.forget(tag)
    device.restart()

    assert list(device.engine.active_erasers(0)) == [eraser()]
    assert device.engine.active_subjects(0) == []


def test_revision_whose_erasers_are_not_those_of_its_manifest_is_refused(device):
    offer = device.coordinator.revision(device.keys.identity, 1, [], erasers=[eraser()])
    manifest = types.RevisionManifest.FromString(offer.revision.manifest.payload)
    manifest.ClearField("concepts")
    offer.revision.manifest.CopyFrom(device.coordinator.sign(manifest))

    (answer,) = device.node.receive(offer)

    assert "erasers" in answer.revision_result.refusal


def test_eraser_that_does_not_fit_is_refused_and_the_one_before_stays(device):
    device.install(1, erasers=[eraser()])

    (answer,) = device.node.receive(
        device.coordinator.revision(device.keys.identity, 2, [], erasers=[types.Eraser(concept=NIGHT, codes=[1])])
    )

    assert "has 1 codes" in answer.revision_result.refusal
    assert list(device.engine.active_erasers(0)) == [eraser()]


def test_entry_that_names_a_concept_without_its_tag_is_rejected(device):
    coordinator = device.coordinator
    coordinator.log.append(coordinator.sign(coordinator.command([new_tag()], concepts=[NIGHT])))

    with pytest.raises(LogRejectedError, match="without its tag"):
        device.node.receive(coordinator.log_after(0))
