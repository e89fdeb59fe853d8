"""Table, findings and stored seeds of the paper's protocol."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fleet.errors import InvalidInputError
from fleet.lab.paper import images, speakers
from fleet.lab.paper.classifier import ClassifierArm, PeopleRun
from fleet.lab.paper.document import outcome, paper_document
from fleet.lab.paper.images import ImagesArm, ImagesPaperRun
from fleet.lab.paper.measures import MEASURES, PaperTask

ARM = ClassifierArm(
    leaked=0.0,
    base=0.98,
    known=0.97,
    forgotten_train=1.0,
    forgotten=1.0,
    retained_before=0.98,
    retained=0.98,
    stripped=0.97,
    newcomer=0.92,
    retained_after=0.97,
    forgotten_after=1.0,
    stripped_after=0.9,
    loss_before=0.1,
    loss=8.0,
    cell_writes=0,
)
SPEAKERS = PeopleRun("made up", 0, ARM, ARM, ARM, ARM)
PUBLISHED = ImagesArm(3, True, 0.99, 0.98, 0.9, 0.97, 0.99, True, 0)
HONEST = ImagesArm(3, False, 0.96, 0.99, 0.95, 0.99, 0.05, True, 0)


def seed_of(run, number=1):
    return {"seed": number, "figures": dataclasses.asdict(run)}


def speakers_outcome(**changes):
    arm = dataclasses.replace(ARM, **changes)
    return outcome(PaperTask.SPEAKERS, [seed_of(dataclasses.replace(SPEAKERS, published=arm))])


@pytest.mark.parametrize("task", list(PaperTask))
def test_every_measure_is_a_field_of_the_arms(task):
    arm = ImagesArm if task is PaperTask.IMAGES else ClassifierArm
    fields = {field.name for field in dataclasses.fields(arm)}

    assert {measure.field for measure in MEASURES[task]} <= fields
    assert any(measure.strip for measure in MEASURES[task])
    assert all(measure.paper is None for measure in MEASURES[task] if measure.strip)


def test_table_has_every_row_for_both_kinds_of_hardware():
    body = speakers_outcome()

    assert [section["hardware"] for section in body["sections"]] == ["chip", "noise-free"]
    for section in body["sections"]:
        assert [row["field"] for row in section["rows"]] == [m.field for m in MEASURES[PaperTask.SPEAKERS]]
    json.dumps(body)


def test_spread_is_over_the_seeds():
    low, high = (dataclasses.replace(ARM, stripped=value) for value in (0.8, 1.0))
    runs = [seed_of(dataclasses.replace(SPEAKERS, published=arm), n) for n, arm in enumerate((low, high))]

    body = outcome(PaperTask.SPEAKERS, runs)

    (row,) = (r for r in body["sections"][0]["rows"] if r["field"] == "stripped")
    assert row["published"] == {"mean": 0.9, "low": 0.8, "high": 1.0, "seeds": [0.8, 1.0]}


@pytest.mark.parametrize(
    ("stripped", "says"), [(0.97, "the array still knows"), (0.3, "partly back"), (0.0, "stays away")]
)
def test_first_finding_is_the_strip_test_in_plain_words(stripped, says):
    first = speakers_outcome(stripped=stripped)["findings"][0]

    assert first.startswith("Strip test, as published")
    assert f"recognised in {stripped:.2f}" in first
    assert says in first


def test_figures_are_called_consistent_only_near_the_papers():
    findings = speakers_outcome(newcomer=0.5)["findings"]

    consistent = next(f for f in findings if f.startswith("Consistent with the paper"))
    assert "0.9842" not in consistent
    assert "0.984 (ours 0.980)" in consistent
    other = next(f for f in findings if f.startswith("Not consistent"))
    assert "sixth person" in other
    assert not any("reproduced" in f for f in findings)


def test_person_who_comes_back_with_a_sixth_is_told():
    assert not any("back in" in f and "sixth" in f for f in speakers_outcome()["findings"])

    findings = speakers_outcome(forgotten_after=0.6)["findings"]

    assert any("back in 0.40 of the tests (as published)" in f for f in findings)


def test_incomplete_forgetting_is_told():
    assert not any("far enough" in f for f in speakers_outcome()["findings"])

    findings = speakers_outcome(forgotten=0.7)["findings"]

    assert any("still recognised in 0.30 of the tests with the adapter on (as pub" in f for f in findings)


def test_images_tell_what_the_strip_test_and_the_exact_arm_show():
    body = outcome(PaperTask.IMAGES, [seed_of(ImagesPaperRun(PUBLISHED, HONEST))])

    assert [section["hardware"] for section in body["sections"]] == ["chip"]
    assert "recognised in 0.99" in body["findings"][0]
    assert "never saw is shown in 0.96 by its own LoRA, and in 0.05" in body["findings"][1]
    assert body["findings"][-1].startswith("No figure of the paper")


@pytest.fixture
def asked(monkeypatch):
    """Seeds that were really run, instead of minutes of work."""
    seeds = []

    def run(seed, progress):
        seeds.append(seed)
        progress("working")
        return ImagesPaperRun(PUBLISHED, HONEST)

    monkeypatch.setattr(images, "run", run)
    return seeds


def test_finished_seeds_are_not_run_again(asked, tmp_path):
    told = []
    first = paper_document(PaperTask.IMAGES, 1, told.append, tmp_path)
    both = paper_document(PaperTask.IMAGES, 2, told.append, tmp_path)

    assert asked == list(images.SEEDS[:2])
    assert first["runs"] == both["runs"][:1]
    assert told[0] == f"Seed {images.SEEDS[0]}, working"


@pytest.mark.parametrize("damage", ["settings", "text"])
def test_seed_of_other_settings_or_a_damaged_file_is_run_anew(asked, tmp_path, monkeypatch, damage):
    paper_document(PaperTask.IMAGES, 1, lambda text: None, tmp_path)
    if damage == "settings":
        monkeypatch.setattr(images, "settings", lambda: "others")
    else:
        (file,) = tmp_path.iterdir()
        file.write_text("{")

    paper_document(PaperTask.IMAGES, 1, lambda text: None, tmp_path)

    assert asked == [images.SEEDS[0]] * 2


def test_nothing_is_kept_without_a_folder(asked, tmp_path):
    paper_document(PaperTask.IMAGES, 1, lambda text: None, None)
    assert list(tmp_path.iterdir()) == []


def test_more_seeds_than_there_are_is_refused_before_anything_runs(asked):
    with pytest.raises(InvalidInputError, match=f"has {len(images.SEEDS)} seeds"):
        paper_document(PaperTask.IMAGES, len(images.SEEDS) + 1, lambda text: None, None)
    assert asked == []


def test_settings_tell_fsdd_from_the_vowels_that_stand_in_for_it(monkeypatch):
    settings = []
    for here in (True, False):
        monkeypatch.setattr(speakers.fsdd, "recordings_available", lambda here=here: here)
        settings.append(speakers.settings())
    assert settings[0] != settings[1]
