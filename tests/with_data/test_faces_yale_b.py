"""The real faces under many lights (Extended Yale B): the whole set is read, and people are told apart in bad light."""

from __future__ import annotations

from edge_node.backbones.filters import FINE
from edge_node.tasks.faces_yale_b import YALE_B, yale_b_photos
from tests.bench.workloads import faces
from tests.bench.workloads.face_fleet import face_fleet
from tests.bench.workloads.head_answers import HeadAnswer


def test_the_set_has_about_sixty_four_lights_of_everybody():
    counts = [len(photos) for photos in yale_b_photos()]

    assert len(counts) == 38
    assert (min(counts), max(counts), sum(counts)) == (59, 64, 2414)


def test_faces_are_told_apart_whatever_the_light():
    fleet = face_fleet(1, nodes=2, layout=FINE, photos=YALE_B)
    head = faces.install(fleet.statistics().build(), fleet)
    codes, truth = fleet.asked

    known, strangers = HeadAnswer.of(head, codes), HeadAnswer.of(head, fleet.strangers)

    assert faces.accuracy(known, truth) >= 0.92
    assert faces.OpenSetRates.of(known, strangers).auroc >= 0.92
