"""Workload of small chips on a seed that chose its settings."""

from __future__ import annotations

import pytest

from tests.bench import learning_small
from tests.bench.workloads import small_chips
from tests.bench.workloads.small_chips import SmallChipsRun


@pytest.fixture(scope="module")
def measured() -> SmallChipsRun:
    return small_chips.run("speakers-4", 100)


def test_lora_names_more_people_than_the_neurons_alone_do(measured) -> None:
    assert measured.federated.accuracy > measured.without_lora.accuracy + 0.03
    assert measured.federated.accuracy > measured.drives.accuracy


def test_training_has_changed_what_the_closed_form_says(measured) -> None:
    assert measured.federated != measured.closed_form
    assert measured.federated != measured.central


def test_without_a_round_lora_is_the_closed_form(measured, monkeypatch) -> None:
    monkeypatch.setattr(small_chips, "ROUNDS", 0)

    untrained = small_chips.run("speakers-4", 100)

    assert untrained.federated == untrained.central == untrained.closed_form == measured.closed_form


def test_each_task_has_its_figures(measured, monkeypatch) -> None:
    monkeypatch.setattr(small_chips, "run", lambda task, seed: measured)

    figures = list(learning_small.small_chips_figures())

    assert len({figure.name for figure in figures}) == len(figures) == len(small_chips.TASKS) * 19
    assert sum("LoRA adds" in figure.name and figure.target is not None for figure in figures) == 3
