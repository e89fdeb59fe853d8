from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.revisions.canaries import CanarySecret

FEATURES, SAMPLES, AMPLITUDE = 512, 30, 240
TAG = "5" * 32


@pytest.fixture
def people():
    """Return five people whose codes are normally distributed, 30 samples each."""
    rng = np.random.default_rng(5)
    return [
        types.SubjectAdapter(
            subject_tag=new_tag(),
            count=SAMPLES,
            code_sum=np.rint(rng.normal(0.0, 139.0, (SAMPLES, FEATURES))).astype(int).sum(axis=0).tolist(),
        )
        for _ in range(5)
    ]


@pytest.fixture
def secret(tmp_path, people):
    return CanarySecret.load_or_create(tmp_path / "canary.json", people, 2**16 - 1)


def test_canary_follows_from_the_secret_and_its_tag_alone(tmp_path, secret):
    again = CanarySecret.load(tmp_path / "canary.json")
    assert again == secret
    assert again.adapter(TAG) == secret.adapter(TAG)
    assert again.mean_codes(TAG) == secret.mean_codes(TAG)


def test_canaries_of_other_tags_and_of_other_secrets_have_nothing_in_common(secret):
    other = dataclasses.replace(secret, key="00" * 32)
    codes = np.array([secret.mean_codes(TAG), secret.mean_codes("6" * 32), other.mean_codes(TAG)])
    assert np.abs(np.corrcoef(codes) - np.eye(3)).max() < 0.25


def test_secret_of_a_version_that_called_samples_clips_is_read(tmp_path, secret):
    path = tmp_path / "canary.json"
    path.write_text(path.read_text().replace('"samples"', '"clips"'))
    assert CanarySecret.load(path) == secret


def test_secret_is_made_once_and_read_by_its_owner_alone(tmp_path, secret, people):
    assert CanarySecret.load_or_create(tmp_path / "canary.json", people[:1], 2**16 - 1) == secret
    assert (tmp_path / "canary.json").stat().st_mode & 0o777 == 0o600


def test_secrets_of_two_fleets_differ(tmp_path, secret, people):
    assert CanarySecret.load_or_create(tmp_path / "other.json", people, 2**16 - 1).key != secret.key


def test_canary_has_the_features_samples_and_size_of_the_people_around_it(secret, people):
    adapter = secret.adapter(TAG)
    assert adapter.subject_tag == TAG
    assert adapter.count == SAMPLES
    assert len(adapter.code_sum) == FEATURES

    def size(subject):
        return np.sqrt(np.square(np.asarray(subject.code_sum) / subject.count).mean())

    assert size(adapter) == pytest.approx(np.median([size(person) for person in people]), rel=0.15)


@pytest.mark.parametrize("samples", [2, 3, 30])
def test_sums_of_a_canary_leave_every_remainder_as_those_of_a_person_do(samples):
    secret = CanarySecret(key="11" * 32, features=2000, amplitude=AMPLITUDE, samples=samples)
    assert set(np.mod(secret.adapter(TAG).code_sum, samples)) == set(range(samples))


def test_probe_of_a_canary_is_its_mean_to_half_a_code(secret):
    adapter = secret.adapter(TAG)
    mean = np.asarray(adapter.code_sum) / adapter.count
    assert np.abs(mean - secret.mean_codes(TAG)).max() <= 0.5


def test_canary_among_people_with_one_silent_sample_still_has_codes(tmp_path):
    silent = types.SubjectAdapter(subject_tag=TAG, count=1, code_sum=[0] * FEATURES)
    secret = CanarySecret.load_or_create(tmp_path / "canary.json", [silent], 2**16 - 1)
    assert secret.amplitude == 1
    assert set(secret.adapter(TAG).code_sum) == {-1, 0, 1}


def test_probe_asks_in_the_canarys_direction_at_a_quarter_of_its_size(secret):
    codes, probe = np.array(secret.mean_codes(TAG)), np.array(secret.probe_codes(TAG))
    assert np.abs(probe).max() <= AMPLITUDE / 4 + 1
    assert codes @ probe / np.linalg.norm(codes) / np.linalg.norm(probe) > 0.99


def test_probe_of_a_canary_with_small_codes_is_as_large_as_they_are(secret):
    small = dataclasses.replace(secret, amplitude=5)
    assert small.probe_codes(TAG) == small.mean_codes(TAG)
