"""Judging of metrics: balanced accuracy with its interval, and a probe that sees what features separate."""

from __future__ import annotations

import pytest
import torch

from fleet.lab.verification.intervals import clopper_pearson
from tests.bench.learning_metrics import balanced_accuracy
from tests.bench.workloads.judged_metrics import TRUTHS, Said, one_photo_probe


def test_metric_that_calls_everything_forgotten_is_right_half_the_time():
    said = [Said("metric", kind, True) for kind in TRUTHS for _ in range(3)]

    low, value, high = balanced_accuracy(said)

    assert value == 0.5
    forgotten, known = 3 * sum(TRUTHS.values()), 3 * sum(not truth for truth in TRUTHS.values())
    assert low == pytest.approx(clopper_pearson(forgotten, forgotten).low / 2)
    assert high == pytest.approx((1 + clopper_pearson(0, known).high) / 2)


def test_metric_that_tells_them_apart_is_right():
    said = [Said("metric", kind, truth) for kind, truth in TRUTHS.items() for _ in range(50)]

    low, value, high = balanced_accuracy(said)

    assert (value, high) == (1.0, 1.0)
    assert 0.95 < low < 1


def test_probe_finds_a_person_in_features_that_separate_them_and_not_in_others():
    generator, nodes = torch.Generator().manual_seed(1), 2
    labels = torch.arange(3).repeat_interleave(5)
    kept = torch.eye(5)[labels].expand(nodes, -1, -1) + 0.05 * torch.randn(nodes, 15, 5, generator=generator)
    apart = torch.eye(5)[[4] * 5].expand(nodes, -1, -1)
    hidden = torch.eye(5)[[0] * 5].expand(nodes, -1, -1)

    assert one_photo_probe(apart[:, :1], kept, labels, apart).value == 1.0
    assert one_photo_probe(hidden[:, :1], kept, labels, hidden).value == 0.0
