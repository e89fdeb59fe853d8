"""The task of faces under many lights on made-up photos: roles, splits, sizes, and what is said if data are missing."""

import numpy as np
import pytest
from scipy.io import savemat

from edge_node.errors import TaskError
from edge_node.recognition.engine import Engine
from edge_node.tasks import faces_yale_b, load_task
from edge_node.tasks.data_folder import DATA_VARIABLE
from edge_node.tasks.faces import FacesTask
from edge_node.tasks.faces_yale_b import FILE, FILE_VARIABLE, PEOPLE, YALE_B, doubled
from hwmodel import load_preset

SIDE = 32


def photos_of(person):
    """A made-up face has waves of its own; lights make it darker towards one side. Some people have fewer photos."""
    generator = np.random.default_rng(person)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves, phases = generator.uniform(-5, 5, (6, 2)), generator.uniform(0, 6, 6)
    face = sum(np.cos(2 * np.pi * (a * x + b * y) + p) for (a, b), p in zip(waves, phases, strict=True))
    face = (face - face.min()) / np.ptp(face)
    lights = (
        generator.uniform(0.05, 1, (8 - person % 3, 1, 1)) + generator.uniform(-0.8, 0.8, (8 - person % 3, 1, 1)) * x
    )
    return np.rint(255 * face * lights.clip(0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def made_up():
    return [photos_of(person) for person in range(PEOPLE)]


def saved(file, people):
    flat = [photo.T.ravel() for photos in people for photo in photos]
    labels = [person + 1 for person, photos in enumerate(people) for _ in photos]
    savemat(file, {"features": np.stack(flat, axis=1), "Label": np.array([labels], np.uint8)})


@pytest.fixture
def folder(tmp_path, monkeypatch, made_up):
    saved(tmp_path / FILE, made_up)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    faces_yale_b._photos.cache_clear()
    yield tmp_path
    faces_yale_b._photos.cache_clear()


def test_roles_are_disjoint_complete_and_drawn_by_the_seed():
    one, other = (FacesTask.of(seed, YALE_B) for seed in (1, 2))

    assert (len(one.split.public), len(one.split.enrolled), len(one.split.strangers)) == (10, 18, 10)
    assert {*one.split.public, *one.split.enrolled, *one.split.strangers} == {f"y{k:02d}" for k in range(PEOPLE)}
    assert one.with_seed(2) == other
    assert one.split != other.split
    assert load_task("faces-yale-b") == one


@pytest.mark.usefixtures("folder")
def test_five_photos_are_learnt_from_and_all_others_test():
    people = load_task("faces-yale-b").load_people()

    assert len(people) == PEOPLE
    for name, person in people.items():
        everything = [photo.tobytes() for photo in (*person.train, *person.test)]
        assert len(person.train) == 5
        assert len(set(everything)) == len(everything) == 8 - int(name[1:]) % 3


@pytest.mark.usefixtures("folder")
def test_public_photos_are_all_of_public_people():
    task = load_task("faces-yale-b")
    people = task.load_people()

    public = task.public_samples()

    assert set(public) == set(task.split.public)
    assert all(len(photos) == len(people[name].train) + len(people[name].test) for name, photos in public.items())


@pytest.mark.usefixtures("folder")
def test_photos_are_those_of_the_file_upright_at_twice_the_side(made_up):
    shown = faces_yale_b.yale_b_photos()

    for photos, mine in zip(shown, made_up, strict=True):
        assert photos.dtype == np.float32
        assert np.array_equal(np.rint(photos * 255).astype(np.uint8), doubled(mine))


def test_a_doubled_photo_lies_between_its_pixels():
    photo = np.array([[[0, 16], [32, 255]]], np.uint8)

    (large,) = doubled(photo)

    assert large[0, 0] == 0
    assert large[3, 3] == 255
    # Nine sixteenths of the nearest pixel, three of each neighbour, one of the one across.
    assert large[1, 1] == (9 * 0 + 3 * 16 + 3 * 32 + 255 + 8) // 16
    assert large[2, 2] == (9 * 255 + 3 * 16 + 3 * 32 + 0 + 8) // 16
    assert np.array_equal(doubled(np.full((1, 32, 32), 77, np.uint8)), np.full((1, 64, 64), 77, np.uint8))


def test_missing_photos_say_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(TaskError, match=f"{DATA_VARIABLE} .*{FILE}.*{FILE_VARIABLE}"):
        load_task("faces-yale-b").load_people()

    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "gone.mat"))
    with pytest.raises(TaskError, match=r"gone\.mat"):
        load_task("faces-yale-b").public_samples()


def test_a_file_of_its_own_comes_first(folder, monkeypatch, made_up):
    other = folder / "other.mat"
    saved(other, made_up[::-1])
    first = faces_yale_b.yale_b_photos()[0]
    monkeypatch.setenv(FILE_VARIABLE, str(other))

    assert np.array_equal(faces_yale_b.yale_b_photos()[-1], first)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"features": np.zeros((1024, 9), np.uint8)}, "Label"),
        ({"features": np.zeros((1024, 9)), "Label": np.arange(9)}, "float64"),
        ({"features": np.zeros((1000, 9), np.uint8), "Label": np.arange(9)}, "1000, 9"),
        ({"features": np.zeros((1024, 9), np.uint8), "Label": np.arange(9)}, "9 people with 1 photos"),
    ],
)
def test_another_file_is_refused(folder, content, said):
    savemat(folder / FILE, content)

    with pytest.raises(TaskError, match=said):
        load_task("faces-yale-b").load_people()


@pytest.mark.usefixtures("folder")
def test_an_engine_captures_them():
    task = load_task("faces-yale-b")
    engine = Engine.build(task, load_preset("180nm-1t1r"), 3, ["north"])

    codes = engine.capture(task.load_people()["y00"].train)

    assert codes.shape == (1, 5, engine.features)
    assert codes.abs().max() > 0
