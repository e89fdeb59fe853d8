"""Private classes added up over nodes: the workload behind the figures."""

from __future__ import annotations

from edge_node.generation.class_fit import ClassRecipe
from edge_node.generation.diffusion import Sampling
from edge_node.generation.training import BackboneRecipe
from edge_node.tasks.images import ImagesTask
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from tests.bench.learning_images import federated_of
from tests.bench.workloads.federated_images import FederatedClass, measure
from tests.bench.workloads.images import silent

TINY = Size(
    nodes=3,
    backbone=BackboneRecipe(steps=16, hardening_steps=4, batch=8, learning_rate=8e-3, warm_up=2),
    sampling=Sampling(steps=2),
    private_images=2,
)
RECIPE = ClassRecipe(rank=2, steps=3, batch=4)


def test_every_private_class_is_measured_and_its_message_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_node.generation.judge._JUDGE_STEPS", 50)
    classes = measure(ImageFleet(ImagesTask.of(50), TINY, silent, tmp_path), RECIPE)

    assert [one.label for one in classes] == list(ImagesTask.of(50).private)
    assert all(0 <= share <= 1 for one in classes for share in (one.own, one.mean))
    # Two nodes with other images and other chips learn something else, about the same thing.
    assert all(0 < one.apart < 2 for one in classes)
    assert all(one.message_bytes < 3 * 4416 * 2 for one in classes)


def test_figures_hold_the_mean_to_the_target_of_the_issue():
    def classes(*shares):
        return [[FederatedClass(k, 1.0, share, 1.0, 47_000) for k, share in enumerate(shares)]]

    def holds(*shares):
        figures = [figure.document("make claims") for figure in federated_of(classes(*shares))]
        return [figure["holds"] for figure in figures if figure["target"]]

    assert holds(1.0, 0.92) == [True, True]
    assert holds(1.0, 0.88) == [False, False]
