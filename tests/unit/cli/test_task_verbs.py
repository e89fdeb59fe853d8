"""`fleet task new|check|list`: a package is written from a model and a folder, or nothing at all."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from fleet.cli import app
from fleet.lab.tasks.examination import examine
from tests.drawn_people import SIDE, draw_people


def task(*arguments):
    return CliRunner().invoke(app, ["task", *map(str, arguments)])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Seven drawn people, ten samples each."""
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", people=7, samples=10)


@pytest.fixture
def changed(people, tmp_path):
    """A copy of the people that a test may change."""
    return shutil.copytree(people, tmp_path / "people")


@pytest.fixture
def factory(monkeypatch):
    """Gives a module `made_models` whose `model` is a function."""

    def given(make):
        module = ModuleType("made_models")
        module.model = make
        monkeypatch.setitem(sys.modules, "made_models", module)

    return given


@pytest.fixture(scope="module")
def written(people, tmp_path_factory):
    """A package of the drawn people, and what was said of it."""
    folder = tmp_path_factory.mktemp("packages") / "drawn-people"
    result = task("new", folder, "--model", "tests.drawn_people:model", "--data", people, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


def test_the_package_has_both_entry_points_and_a_module_a_test_and_a_page(written):
    folder, _ = written

    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "drawn_people_task.py",
        "pyproject.toml",
        "test_drawn_people_task.py",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {
        "reram_fleet.tasks": {"drawn-people": "drawn_people_task:TASK"},
        "reram_fleet.code_ranges": {"drawn-people": "drawn_people_task:CODES"},
    }
    assert all(len(line) <= 120 for line in (folder / "drawn_people_task.py").read_text().splitlines())


def test_the_written_module_is_the_task_that_was_examined(written, monkeypatch):
    folder, body = written
    monkeypatch.syspath_prepend(str(folder))
    import drawn_people_task as module

    assert (body["public"], body["enrolled"], body["strangers"]) == (3, 3, 1)
    assert body["features"] == module.CODES.features == 48
    assert 0.02 * body["code_max"] < body["largest_code"] < 0.9 * body["code_max"]
    assert body["layers"] == {"1 0": [16, 8], "2 4": [200, 48]}
    assert body["accuracy"] > 0.9
    found = examine(module.TASK, module.CODES)
    assert found.accuracy == body["accuracy"]
    assert found.sample_j == body["sample_j"] > 0


def test_roles_are_drawn_from_the_seed_and_may_be_named(people, tmp_path):
    options = ("--model", "tests.drawn_people:model", "--data", people, "--public", "p01,p02,p06,p04", "--seed", "3")
    result = task("new", tmp_path / "named", *options)

    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "named" / "named_task.py").read_text()
    assert '"p01",\n            "p02",\n            "p06",\n            "p04",' in text
    assert "seed=3" in text
    assert "4 public, 2 enrolled, 1 strangers" in result.stdout


def refused(result, target, says):
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--public", "2"), "3 people are public at least"),
        (("--public", "p01,p02,p99"), "nobody is called p99"),
        (("--public", "4", "--strangers", "2"), "that leaves 1 to enrol"),
        (("--name", "Drawn"), "is no name of a task"),
        (("--name", "faces"), "task 'faces' is given by reram-fleet already"),
        (("--model", "tests.drawn_people"), "write package.module:factory"),
        (("--data", "no-such-folder"), "no folder of samples"),
    ],
)
def test_wishes_that_cannot_be_met_write_nothing(people, tmp_path, options, says):
    usual = {"--model": "tests.drawn_people:model", "--data": str(people)}
    usual |= dict(zip(options[::2], options[1::2], strict=True))

    refused(task("new", tmp_path / "new", *[each for pair in usual.items() for each in pair]), tmp_path / "new", says)


def new(tmp_path, people, model="tests.drawn_people:model"):
    return task("new", tmp_path / "new", "--model", model, "--data", people)


def test_too_few_people_or_samples_write_nothing(changed, tmp_path):
    for number in range(7):
        (changed / "p03" / f"{number}.png").unlink()
    refused(new(tmp_path, changed), tmp_path / "new", "have fewer: p03 3")
    shutil.rmtree(changed / "p03")
    shutil.rmtree(changed / "p04")
    refused(new(tmp_path, changed), tmp_path / "new", "folders of 5 people; a task takes 6")


def test_unequal_shapes_and_broken_files_write_nothing(changed, tmp_path):
    (changed / "p05" / "wide.png").write_bytes(b"broken")
    refused(new(tmp_path, changed), tmp_path / "new", "wide.png cannot be read")
    Image.fromarray(np.zeros((SIDE, SIDE + 1), np.uint8)).save(changed / "p05" / "wide.png")
    refused(new(tmp_path, changed), tmp_path / "new", "all samples of a task have one shape")


def numbered():
    """Return a function that makes another model each time."""
    made = []

    def make():
        model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 16))
        made.append(model)
        nn.init.constant_(model[1].bias, len(made))
        return model

    return make


class Made(nn.Module):
    """A layer, and then what a function makes of it."""

    def __init__(self, then):
        super().__init__()
        self.layer, self.then = nn.Linear(SIDE * SIDE, 16), then

    def forward(self, x):
        return self.then(self.layer(x.flatten(1)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (numbered(), "makes another model each time (1.bias differs)"),
        (lambda: Made(lambda y: y + torch.rand_like(y)), "other features of the same sample each time"),
        (lambda: Made(lambda y: y * float("nan")), "a feature of a sample that is NaN or infinite"),
        (lambda: Made(lambda y: y @ torch.zeros(3)), "the model fails on a sample [1, 12, 12] (RuntimeError"),
        (lambda: Made(lambda y: (y, y)), "is to return a float tensor [1, ...]; it returned tuple"),
        (lambda: Made(lambda y: y[:, :1]), "makes 1 features of a sample; a task takes 2 to 1280"),
        (lambda: Made(lambda y: 0 * y), "nothing but zeros"),
        (lambda: nn.Sequential(nn.Flatten(), nn.GRU(SIDE * SIDE, 4), nn.Linear(4, 4)), "it returned tuple|fails"),
    ],
)
def test_models_that_make_no_features_write_nothing(people, tmp_path, factory, make, says):
    factory(make)
    result = new(tmp_path, people, "made_models:model")

    assert any(each in " ".join(result.stderr.split()) for each in says.split("|"))
    refused(result, tmp_path / "new", "")


def test_a_folder_with_something_in_it_is_left_alone(people, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").write_text("mine")
    result = new(tmp_path, people)

    assert result.exit_code == 2
    assert "not empty" in result.stderr
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["mine.txt"]


def test_the_list_has_our_tasks_and_who_gives_them():
    items = {each["name"]: each for each in json.loads(task("list", "-o", "json").stdout)["items"]}

    assert items["speakers"] == {
        "name": "speakers",
        "distributions": ["reram-fleet"],
        "features": 1024,
        "code_max": 65535,
        "error": "",
    }
    assert "faces-yale-b" in task("list").stdout


def test_a_task_of_ours_is_examined_and_one_that_generates_is_not():
    result = task("check", "speakers", "-o", "json")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["accuracy"] > 0.95
    assert "recognises nobody" in task("check", "images").stderr
    assert "there is no task 'gaits'" in task("check", "gaits").stderr
