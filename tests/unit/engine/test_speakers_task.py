import subprocess
import sys

import numpy as np
import pytest

from edge_node.backbones.coding import InputCoding
from edge_node.errors import SampleError, TaskError
from edge_node.tasks import load_task
from edge_node.tasks.speakers import SPEAKERS, load_people


def test_nine_people_with_thirty_training_samples_each(people):
    assert sorted(people) == [f"s{k:02d}" for k in range(1, 10)]
    assert {len(person.train) for person in people.values()} == {30}
    assert [len(people[f"s{k:02d}"].test) for k in range(1, 10)] == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert all(c.dtype == np.float32 and c.shape[1] == 12 for p in people.values() for c in p.train + p.test)


def test_roles_are_disjoint_and_public_samples_are_of_public_people_only(people):
    split = SPEAKERS.split
    roles = [*split.public, *split.enrolled, *split.strangers]
    assert sorted(roles) == sorted(people)
    public = SPEAKERS.public_samples()
    assert set(public) == set(split.public)


def test_data_load_without_importing_sktime_pandas_or_torch():
    code = (
        "import sys; from edge_node.tasks.speakers import load_people; load_people(); "
        "sys.exit(bool({'sktime', 'pandas', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_task_and_unknown_speaker_are_refused():
    with pytest.raises(TaskError, match="known: faces, faces-64, faces-yale-b, fsdd, fsdd-8, images"):
        load_task("whales")
    with pytest.raises(TaskError, match="s10"):
        load_people(["s01", "s10"])


def test_public_samples_fill_the_dac_and_seldom_clip():
    codes = np.concatenate(
        [SPEAKERS.coding.encode(c).numpy() for samples in SPEAKERS.public_samples().values() for c in samples]
    )
    assert 20 < codes.std() < 50
    assert (np.abs(codes) == 127).mean() < 0.01


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros((9, 12), np.float64),
        np.zeros((9, 11), np.float32),
        np.zeros(12, np.float32),
        np.zeros((1, 12), np.float32),
        np.zeros((257, 12), np.float32),
        np.full((9, 12), np.nan, np.float32),
        np.full((9, 12), np.inf, np.float32),
    ],
    ids=["float64", "channels", "flat", "short", "long", "nan", "inf"],
)
def test_malformed_sample_is_refused(sample):
    with pytest.raises(SampleError):
        SPEAKERS.coding.encode(sample)


def test_huge_samples_saturate_instead_of_wrapping():
    sample = np.array([[3e38] * 12, [-3e38] * 12], np.float32)
    codes = SPEAKERS.coding.encode(sample)
    assert codes.tolist() == [[127] * 12, [-127] * 12]


def test_gain_that_would_round_is_refused():
    with pytest.raises(TaskError, match="powers of two"):
        InputCoding(gains=(3,), offsets=(0,), min_frames=2, max_frames=9)
