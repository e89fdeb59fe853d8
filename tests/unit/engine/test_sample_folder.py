"""Folders of samples: formats, roles, and what cannot be read."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from edge_node.errors import TaskError
from edge_node.tasks.sample_folder import SampleFolder, read_sample
from tests.drawn_people import SIDE, draw_people


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Eight drawn people, five samples each."""
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", people=8, samples=5)


@pytest.fixture
def samples(people):
    return SampleFolder(str(people), (1, SIDE, SIDE), ("p02", "p03", "p05"), 2)


def test_grey_and_coloured_images_are_channels_first_from_0_to_1(tmp_path):
    Image.fromarray(np.array([[0, 255, 51]], np.uint8)).save(tmp_path / "grey.pgm")
    Image.fromarray(np.array([[[255, 0, 51]]], np.uint8)).save(tmp_path / "colour.PNG")

    assert read_sample(tmp_path / "grey.pgm").tolist() == [[[0, 1, pytest.approx(0.2)]]]
    assert read_sample(tmp_path / "colour.PNG").tolist() == [[[1]], [[0]], [[pytest.approx(0.2)]]]


def test_sound_is_channels_first_from_minus_1_to_1(tmp_path):
    wavfile.write(tmp_path / "mono.wav", 8000, np.array([0, 16384, -32768], np.int16))
    wavfile.write(tmp_path / "stereo.wav", 8000, np.array([[128, 192], [0, 64]], np.uint8))

    assert read_sample(tmp_path / "mono.wav").tolist() == [[0, 0.5, -1]]
    assert read_sample(tmp_path / "stereo.wav").tolist() == [[0, -1], [0.5, -0.5]]


def test_arrays_are_as_they_are(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))

    found = read_sample(tmp_path / "a.npy")
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", b"hello", "is no sample: they end with .npy"),
        ("photo.png", b"no image", "photo.png cannot be read"),
        ("sound.wav", b"RIFF", "sound.wav cannot be read"),
        ("array.npy", b"\x93NUMPY", "array.npy cannot be read"),
    ],
)
def test_files_that_are_no_samples_are_named(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(TaskError, match=says):
        read_sample(tmp_path / name)


def test_pixels_of_16_bits_and_objects_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))

    with pytest.raises(TaskError, match="give 8 bits"):
        read_sample(tmp_path / "deep.png")
    with pytest.raises(TaskError, match="no array of real numbers"):
        read_sample(tmp_path / "words.npy")


def test_everybody_has_one_role_and_a_seed_draws_the_same_again(samples):
    split = samples.split

    assert split.public == ("p02", "p03", "p05")
    assert len(split.strangers) == 2
    assert sorted([*split.public, *split.enrolled, *split.strangers]) == [f"p{k:02d}" for k in range(8)]
    assert samples.split == split
    assert len({replace(samples, seed=seed).split.strangers for seed in range(8)}) > 1


def test_a_node_needs_the_public_peoples_folders_only(samples, people, tmp_path, monkeypatch):
    here = replace(samples, variable="DRAWN_DATA")
    for name in samples.public:
        shutil.copytree(people / name, tmp_path / name)
    monkeypatch.setenv("DRAWN_DATA", str(tmp_path))

    assert here.split.public == samples.split.public
    assert here.split.enrolled == ()
    for name, person in here.people(here.split.public).items():
        mine = samples.people([name])[name]
        assert all(np.array_equal(a, b) for a, b in zip(person.train, mine.train, strict=True))
    shutil.rmtree(tmp_path / "p03")
    with pytest.raises(TaskError, match="no folder of the public people p03"):
        _ = here.split


def test_half_of_the_samples_test_and_none_does_both(samples):
    person = samples.people(["p04"])["p04"]

    assert (len(person.train), len(person.test)) == (3, 2)
    assert len({sample.tobytes() for sample in (*person.train, *person.test)}) == 5
    assert all(sample.shape == (SIDE, SIDE) and sample.dtype == np.float32 for sample in person.train)


def test_a_sample_travels_flat_and_comes_back_in_shape(samples):
    sample = samples.people(["p04"])["p04"].train[0]

    assert np.array_equal(samples.shaped(sample)[0], sample)


def test_a_sample_of_another_shape_is_named(samples, people, tmp_path):
    shutil.copytree(people, tmp_path / "mixed")
    Image.fromarray(np.zeros((SIDE, SIDE + 1), np.uint8)).save(tmp_path / "mixed" / "p04" / "wide.png")

    with pytest.raises(TaskError, match=r"wide.png has shape \[1, 12, 13\], the others \[1, 12, 12\]"):
        replace(samples, folder=str(tmp_path / "mixed")).people(["p04"])


def test_a_folder_that_is_not_there_names_the_variable(samples, tmp_path):
    with pytest.raises(TaskError, match=r"no folder of samples .*gone .*; DRAWN_DATA names it"):
        _ = replace(samples, folder=str(tmp_path / "gone"), variable="DRAWN_DATA").split


def test_a_reader_of_ones_own_takes_other_files(people, tmp_path):
    for name in ("p00", "p01", "p02"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.raw").write_bytes(bytes(4))

    def read(file):
        return np.frombuffer(file.read_bytes(), np.uint8).astype(np.float32)

    samples = SampleFolder(str(tmp_path), (4,), ("p00", "p01", "p02"), 0, read=read)
    assert samples.people(["p01"])["p01"].train[0].tolist() == [[0, 0, 0, 0]]
