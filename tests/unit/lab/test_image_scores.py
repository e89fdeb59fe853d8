"""Scores of generated images: a distance of sets, and the judge of things and styles."""

from __future__ import annotations

import pytest
import torch

from edge_node.errors import EngineError
from edge_node.generation.judge import Judge
from edge_node.tasks.images import ImagesTask
from tests.bench.workloads.image_scores import frechet_distance

TASK = ImagesTask.of(50)


def test_distance_of_normal_clouds_is_that_of_their_means_and_covariances():
    cloud = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))
    cloud = (cloud - cloud.mean(dim=0)) @ torch.linalg.inv(torch.linalg.cholesky(cloud.T.cov())).T

    assert frechet_distance(cloud, cloud) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(cloud, cloud + torch.tensor([3.0, 0, 4])) == pytest.approx(25, rel=1e-4)
    stretched = cloud * torch.tensor([1.0, 2, 3])
    assert frechet_distance(cloud, stretched) == pytest.approx(1 + 4, rel=1e-3)
    with pytest.raises(EngineError, match="two images"):
        frechet_distance(cloud, cloud[:1])


def test_judge_knows_things_and_styles_of_pictures_that_it_has_not_seen():
    real, test = TASK.images(range(10), test=False), TASK.images(range(10), test=True)

    judge = Judge.train(real, 1)

    assert judge.accuracy(test.levels, test.labels) >= 0.97
    assert judge.style_accuracy(test.levels, test.styles) >= 0.97
    assert judge.activations(test.levels).shape == (len(test.labels), 128)
