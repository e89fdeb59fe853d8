"""The real faces (Olivetti): roles, and rates that made-up photos cannot show."""

from __future__ import annotations

import numpy as np

from edge_node.backbones.filters import FINE
from edge_node.tasks import load_task
from fleet.lab.fleets.two_layer_fleet import TwoLayerFleet, shard_plans
from fleet.lab.replay.cohort import train_cohort
from fleet.lab.replay.cohort_state import LoraRecipe
from tests.bench.workloads import faces
from tests.bench.workloads import federated_faces as workload
from tests.bench.workloads.face_fleet import face_fleet
from tests.bench.workloads.head_answers import HeadAnswer
from tests.bench.workloads.identification import rates_of
from tests.unit.engine.cohort_fleet import starts_of


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


def test_federated_training_is_nearly_as_good_as_central():
    fleet = TwoLayerFleet.of(210, face_fleet(210), workload.WIDE)
    (plan,) = shard_plans(fleet, 210, LoraRecipe(a_seed=210), 1)
    federated = train_cohort(plan, fleet.nodes, starts_of(fleet.nodes, plan.recipe))

    rates = rates_of(fleet, plan.recipe, [federated])
    central = rates_of(fleet, plan.recipe, [workload.trained_centrally(fleet, plan)])
    assert rates.accuracy >= 0.9
    assert rates.accuracy >= central.accuracy - 0.03
