"""Continual learning on voices: who comes and goes, what is measured, and that it could come out worse."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from edge_node.tasks.speakers import SPEAKERS
from edge_node.tasks.speakers_small import SPEAKERS_4
from fleet.lab.fleets.captured_fleet import CapturedFleet
from tests.bench.learning_continual import figures_of
from tests.bench.workloads import resurfacing
from tests.bench.workloads.arrivals import Arrivals, Trajectory
from tests.bench.workloads.continual import ContinualRun, live
from tests.bench.workloads.resurfacing import Seen, refused_returns

SEED = 3


@pytest.fixture(scope="module")
def fleet():
    return CapturedFleet.of(SPEAKERS, SEED, nodes=2)


@pytest.fixture(scope="module")
def life(fleet):
    return live(fleet, SPEAKERS_4, SEED, more_rounds=2)


def test_everybody_arrives_once_and_leavers_come_from_early_waves():
    names = [f"p{k}" for k in range(20)]

    plan = Arrivals.of(names, 5)

    assert [len(wave) for wave in plan.waves] == [5, 5, 5, 5]
    assert sorted(name for wave in plan.waves for name in wave) == sorted(names)
    assert len(plan.leaving) == 3
    assert not set(plan.leaving) & set(plan.waves[-1])
    assert set(plan.staying) == set(names) - set(plan.leaving)
    assert Arrivals.of(names, 6).waves != plan.waves


def test_four_people_come_in_three_waves_and_one_of_them_leaves():
    plan = Arrivals.of(["a", "b", "c", "d"], 5)

    assert [len(wave) for wave in plan.waves] == [2, 1, 1]
    assert plan.leaving == plan.waves[0][:1]


def test_forgetting_is_best_less_last_over_all_but_the_newest():
    line = Trajectory("x", ((1.0,), (0.8, 1.0), (0.9, 0.7, 0.5), (0.7, 0.9, 0.4)), 0.9)

    # First wave: 1.0 -> 0.7; second: 1.0 -> 0.9; the newest does not count.
    assert line.forgetting == pytest.approx(0.2)
    assert line.known_before == pytest.approx((0.8, 0.8))
    assert line.everybody[-1] == pytest.approx(2 / 3)


def test_seen_counts_the_named_only_if_they_are_accepted():
    accepted = torch.tensor([[True, True], [False, True]])

    seen = Seen.of([["a", "b"], ["a", "a"]], accepted, ("a", "a"))

    assert (seen.named, seen.accepted) == (0.5, 0.75)


def test_closed_forms_keep_what_they_knew(life):
    for trajectory in life.trajectories[:2]:
        assert min(trajectory.known_before) >= 0.9
        assert trajectory.forgetting <= 0.1
        assert trajectory.joint == pytest.approx(trajectory.everybody[-1])


def test_every_learner_has_a_line_per_wave_and_one_after_more_rounds(life):
    assert [t.learner for t in life.trajectories] == [
        "closed-form head",
        "subject adapters",
        "cohort LoRA on small chips",
    ]
    for trajectory in life.trajectories:
        assert [len(line) for line in trajectory.accuracy] == [1, 2, 3, 3]


def test_forgotten_people_stay_forgotten_in_every_kind(life):
    assert [line.kind for line in life.resurfacing] == [
        "closed-form head",
        "subject adapter",
        "cohort LoRA on small chips",
    ]
    assert [line.named for line in life.resurfacing] == [0.0] * 3
    assert [line.as_if_never_enrolled for line in life.resurfacing] == [True] * 3
    for line in life.resurfacing:
        assert line.accepted == line.never_enrolled


def test_an_old_adapter_let_back_in_would_name_them(life):
    """So zero is no property of the samples: it is what tombstones are there to keep up."""
    assert min(line.named_if_let_back for line in life.resurfacing) >= 0.5


def test_every_way_back_is_refused(life):
    assert life.returns_refused == 1.0


def test_a_gate_left_open_is_seen(monkeypatch):
    monkeypatch.setattr(resurfacing, "check_manifest", lambda manifest, standpoint: None)

    assert refused_returns(1) == pytest.approx(2 / 3)


def test_figures_hold_what_was_measured(life):
    run = ContinualRun(life, life, first_task_unchanged=True)
    figures = list(figures_of([run]))
    names = [figure.name for figure in figures]

    assert len(set(names)) == len(names)
    json.dumps(asdict(run))
    by_name = {figure.name: figure for figure in figures}
    named = by_name["continual, faces, forgotten people in a cohort LoRA on small chips after 20 more rounds: named"]
    assert named.target is not None
    assert named.target.holds(named.values)
    changed = list(figures_of([ContinualRun(life, life, first_task_unchanged=False)]))[-1]
    assert changed.target is not None
    assert not changed.target.holds(changed.values)
