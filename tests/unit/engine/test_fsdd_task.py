"""The task of spoken digits on made-up recordings: roles, splits, and what is said if data are missing."""

import io
import zipfile

import numpy as np
import pytest
from reram_fleet.v1.types_pb2 import SubjectAdapter
from scipy.io import wavfile

from edge_node.backbones.liquid import Liquid
from edge_node.backbones.spectral import SpectralFilters
from edge_node.errors import TaskError
from edge_node.recognition.engine import Engine
from edge_node.tasks import fsdd, load_task
from edge_node.tasks.data_folder import DATA_VARIABLE
from edge_node.tasks.fsdd import SOURCE_VARIABLE, SPEAKERS, FsddTask, load_recordings
from hwmodel import EnergyLedger, load_preset

from .voices import voice

TAKES = 3


def wave_file(digit, speaker, take, rate=8_000, dtype=np.int16):
    """A made-up speaker has a pitch, a digit has formants."""
    sound = voice(
        90 + 25 * speaker,
        (300 + 50 * digit, 2_400 - 120 * digit + 40 * speaker),
        seed=1_000 * speaker + 10 * digit + take,
        seconds=0.25,
    )
    file = io.BytesIO()
    wavfile.write(file, rate, np.rint(sound[:, 0] * 32_767).astype(dtype))
    return file.getvalue()


@pytest.fixture(scope="module")
def made_up():
    return {
        f"{digit}_{name}_{take}.wav": wave_file(digit, index, take)
        for digit in range(10)
        for index, name in enumerate(SPEAKERS)
        for take in range(TAKES)
    }


@pytest.fixture
def folder(tmp_path, monkeypatch, made_up):
    inner = tmp_path / "recordings"
    inner.mkdir()
    for name, raw in made_up.items():
        (inner / name).write_bytes(raw)
    (inner / "README.txt").write_text("not a recording")
    (inner / "0_stranger_0.wav").write_bytes(made_up["0_theo_0.wav"])
    monkeypatch.setenv(SOURCE_VARIABLE, str(tmp_path))
    fsdd._recordings.cache_clear()
    yield tmp_path
    fsdd._recordings.cache_clear()


def test_roles_are_disjoint_complete_and_drawn_by_the_seed():
    splits = [FsddTask.of(seed).split for seed in range(20)]

    for split in splits:
        assert (len(split.public), len(split.enrolled), len(split.strangers)) == (3, 2, 1)
        assert {*split.public, *split.enrolled, *split.strangers} == set(SPEAKERS)
    assert len({split.public for split in splits}) > 5
    assert load_task("fsdd").split == FsddTask.of(1).split


@pytest.mark.usefixtures("folder")
def test_nobody_is_tested_on_a_digit_that_was_learnt():
    people = load_task("fsdd").load_people()
    recordings = load_recordings()

    assert sorted(people) == list(SPEAKERS)
    for name, person in people.items():
        assert (len(person.train), len(person.test)) == (7 * TAKES, 3 * TAKES)
        spoken = {r.recording.tobytes(): r.digit for r in recordings[name]}
        assert {spoken[sample.tobytes()] for sample in person.train} == set(range(7))
        assert {spoken[sample.tobytes()] for sample in person.test} == {7, 8, 9}
    sample = people["theo"].train[0]
    assert sample.dtype == np.float32
    assert sample.ndim == 2
    assert 0.15 < np.abs(sample).max() <= 0.2


@pytest.mark.usefixtures("folder")
def test_public_samples_are_of_public_people_and_learnt_digits_only(monkeypatch):
    monkeypatch.setattr(fsdd, "CALIBRATION_TAKES", 2)
    task = FsddTask.of(4)
    public, people = task.public_samples(), task.load_people()

    assert set(public) == set(task.split.public)
    for name, samples in public.items():
        assert len(samples) == 7 * 2
        assert {c.tobytes() for c in samples} <= {c.tobytes() for c in people[name].train}


def test_zip_file_and_folder_hold_the_same(folder, made_up, monkeypatch):
    from_folder = load_recordings()
    archive = folder / "fsdd.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name, raw in made_up.items():
            made.writestr(f"recordings/{name}", raw)
    monkeypatch.setenv(SOURCE_VARIABLE, str(archive))

    from_zip = load_recordings()

    assert {n: [(r.digit, r.take) for r in mine] for n, mine in from_zip.items()} == {
        n: [(r.digit, r.take) for r in mine] for n, mine in from_folder.items()
    }
    assert all(
        np.array_equal(a.recording, b.recording)
        for name in SPEAKERS
        for a, b in zip(from_zip[name], from_folder[name], strict=True)
    )


@pytest.mark.parametrize("entry", ["fsdd", "fsdd.zip"])
def test_recordings_are_found_in_the_folder_of_all_data(folder, made_up, monkeypatch, entry):
    if entry == "fsdd":
        (folder / "recordings").rename(folder / "fsdd")
    else:
        with zipfile.ZipFile(folder / "fsdd.zip", "w") as made:
            for name, raw in made_up.items():
                made.writestr(f"recordings/{name}", raw)
    monkeypatch.delenv(SOURCE_VARIABLE)
    monkeypatch.setenv(DATA_VARIABLE, str(folder))

    assert {len(mine) for mine in load_recordings().values()} == {10 * TAKES}


def test_missing_recordings_say_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(TaskError, match=f"{SOURCE_VARIABLE} .*{DATA_VARIABLE} "):
        load_task("fsdd").load_people()

    monkeypatch.setenv(SOURCE_VARIABLE, str(tmp_path / "gone.zip"))
    with pytest.raises(TaskError, match=r"gone\.zip"):
        load_recordings()

    monkeypatch.setenv(SOURCE_VARIABLE, str(tmp_path))
    with pytest.raises(TaskError, match="lacks 60 kinds"):
        load_recordings()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"RIFFnothing", "no sound file"),
        (wave_file(3, 1, 0, rate=16_000), "16000 Hz"),
        (wave_file(3, 1, 0, dtype=np.int32), "int32"),
    ],
)
def test_damaged_recording_is_named(folder, raw, said):
    (folder / "recordings" / "3_jackson_0.wav").write_bytes(raw)
    fsdd._recordings.cache_clear()

    with pytest.raises(TaskError, match=rf"3_jackson_0.*{said}"):
        load_recordings()


@pytest.mark.usefixtures("folder")
def test_unknown_speaker_is_refused():
    with pytest.raises(TaskError, match="nobody"):
        load_recordings(["nobody"])


def test_machine_chooses_the_backbone():
    preset = load_preset("180nm-1t1r")
    split = FsddTask.of(1).split
    spectral = FsddTask(split).program(preset, 1, ["a"], EnergyLedger(1))
    liquid = FsddTask(split, "liquid").program(preset, 1, ["a"], EnergyLedger(1))

    assert isinstance(spectral, SpectralFilters)
    assert isinstance(liquid, Liquid)


@pytest.mark.usefixtures("folder")
def test_an_engine_enrols_and_recognises_made_up_speakers():
    task = FsddTask.of(1)
    engine = Engine.build(task, load_preset("180nm-1t1r"), 3, ["north", "east"])
    people, tags = task.load_people(), {name: f"{i:032x}" for i, name in enumerate(task.split.enrolled)}
    for name, tag in tags.items():
        mine = engine.capture(people[name].train[::2])[0].long()
        adapter = SubjectAdapter(subject_tag=tag, count=len(mine), code_sum=mine.sum(dim=0).tolist())
        engine.set_subject(0, adapter)
        engine.set_subject(1, adapter)

    for name, tag in tags.items():
        named = engine.identify(engine.capture(people[name].train[1::2])).best_tag
        assert np.mean([best == tag for row in named for best in row]) > 0.8
