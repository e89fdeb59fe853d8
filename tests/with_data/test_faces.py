"""The real faces (Olivetti): roles, and rates that made-up photos cannot show."""

from __future__ import annotations

import numpy as np

from edge_node.backbones.filters import FINE
from edge_node.tasks import load_task
from tests.bench.workloads import faces
from tests.bench.workloads.face_fleet import face_fleet
from tests.bench.workloads.head_answers import HeadAnswer


def test_each_person_has_five_photos_to_learn_from_and_five_others():
    people = load_task("faces").load_people()

    assert len(people) == 40
    assert all(len(p.train) == len(p.test) == 5 for p in people.values())
    one = people["f07"]
    assert not any(np.array_equal(a, b) for a in one.train for b in one.test)


def test_public_photos_are_of_public_people_only():
    task = load_task("faces")

    assert set(task.public_samples()) == set(task.split.public)
    assert all(len(photos) == 10 for photos in task.public_samples().values())


def test_real_faces_are_told_apart():
    fleet = face_fleet(1, nodes=2, layout=FINE)
    head = faces.install(fleet.statistics().build(), fleet)
    codes, truth = fleet.asked

    assert faces.accuracy(HeadAnswer.of(head, codes), truth) >= 0.94
