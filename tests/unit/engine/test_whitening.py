import pytest
import torch

from edge_node.errors import EngineError
from edge_node.recognition.score_calibration import SHRINKAGE, ScoreCalibration

PEOPLE, SAMPLES, FEATURES = 4, 3, 40
PERSON = torch.arange(PEOPLE).repeat_interleave(SAMPLES)


@pytest.fixture(scope="module")
def codes():
    random = torch.Generator().manual_seed(5)
    means = torch.randint(-400, 400, (3, PEOPLE, 1, FEATURES), generator=random)
    noise = torch.randint(-90, 90, (3, PEOPLE, SAMPLES, FEATURES), generator=random)
    return (means + noise).reshape(3, PEOPLE * SAMPLES, FEATURES).int()


@pytest.fixture(scope="module")
def calibration(codes):
    return ScoreCalibration.fit(codes, PERSON)


@pytest.fixture(scope="module")
def others():
    return torch.randint(-500, 500, (5, FEATURES), generator=torch.Generator().manual_seed(6))


def by_definition(calibration, node, vectors):
    """Return z at length 1 by a root of the covariance in all features."""
    public = calibration.public_codes[node].double()
    own = torch.stack([public[person == PERSON].mean(dim=0) for person in PERSON])
    covariance = (public - own).T @ (public - own) / len(public)
    ridge = SHRINKAGE * covariance.trace() / FEATURES
    variances, axes = torch.linalg.eigh(covariance)
    z = vectors.double() @ axes @ torch.diag((variances.clamp(min=0) + ridge).rsqrt()) @ axes.T
    return torch.nn.functional.normalize(z, dim=1)


@pytest.mark.parametrize("node", range(3))
def test_cosines_are_those_of_vectors_whitened_in_all_features(calibration, others, node):
    chip = calibration.whitening.chip(node)
    these, those = chip.of(others[:3]), chip.of(others[2:])
    z, public = (
        by_definition(calibration, node, others),
        by_definition(calibration, node, calibration.public_codes[node]),
    )
    assert torch.allclose(chip.mapped(these, torch.eye(FEATURES)), z[:3], rtol=0, atol=1e-12)
    assert torch.allclose(chip.cosine(these, those), z[:3] @ z[2:].T, rtol=0, atol=1e-12)
    assert torch.allclose(chip.paired_cosine(these, those), (z[:3] * z[2:]).sum(dim=1), rtol=0, atol=1e-12)
    assert torch.allclose(chip.cosine(chip.public, those), public @ z[2:].T, rtol=0, atol=1e-12)


def test_map_of_the_public_samples_is_that_of_their_whitened_vectors(calibration):
    matrix = torch.randint(-3, 4, (6, FEATURES), generator=torch.Generator().manual_seed(7))
    public = by_definition(calibration, 1, calibration.public_codes[1])
    chip = calibration.whitening.chip(1)
    mapped = chip.mapped(chip.public, matrix)
    assert torch.allclose(mapped, public @ matrix.double().T, rtol=0, atol=1e-11)


def test_vector_of_zeros_is_like_nothing(calibration, others):
    chip = calibration.whitening.chip(0)
    zero, some = chip.of(torch.zeros(1, FEATURES, dtype=torch.int32)), chip.of(others)
    assert not bool(chip.mapped(zero, torch.eye(FEATURES)).any())
    assert not bool(chip.cosine(zero, some).any())
    assert not bool(chip.cosine(chip.public, zero).any())


def test_typical_length_is_the_median_of_public_samples_that_the_covariance_does_not_know(calibration, codes):
    whole, lengths = codes[2].double(), []
    for person in range(PEOPLE):
        mine = person == PERSON
        # Rounded as feature codes are: half-way cases up.
        centre = (whole[~mine].mean(dim=0) + 0.5).floor()
        own = torch.stack([whole[~mine][PERSON[~mine] == k].mean(dim=0) for k in PERSON[~mine]])
        covariance = (whole[~mine] - own).T @ (whole[~mine] - own) / int((~mine).sum())
        covariance += SHRINKAGE * covariance.trace() / FEATURES * torch.eye(FEATURES, dtype=torch.float64)
        f = whole[mine] - centre
        lengths += (f * torch.linalg.solve(covariance, f.T).T).sum(dim=1).sqrt().tolist()

    assert float(calibration.typical_length[2]) == pytest.approx(sorted(lengths)[(len(lengths) - 1) // 2], rel=1e-9)


def test_a_chip_that_is_calibrated_anew_has_what_it_would_have_alone(codes):
    together, alone = ScoreCalibration.fit(codes, PERSON), ScoreCalibration.fit(codes[:1] // 2, PERSON)
    kept = together.typical_length[1:].clone()

    renewed = together.renewed(0, alone)

    assert renewed.typical_length[0] == alone.typical_length[0]
    assert torch.equal(renewed.typical_length[1:], kept)
    assert torch.equal(renewed.accept_threshold[:1], alone.accept_threshold)
    assert torch.equal(renewed.centre[:1], alone.centre)


def test_sums_of_very_many_samples_point_where_they_did(calibration, others):
    chip = calibration.whitening.chip(0)
    some, many = chip.of(others), chip.of(others.long() << 31)
    assert torch.allclose(chip.cosine(some, many), chip.cosine(some, some), rtol=0, atol=1e-9)
    assert torch.equal(
        chip.cosine(some, chip.of(torch.cat([others.long() << 31, others]))[:5]), chip.cosine(some, many)
    )


def test_public_codes_whose_products_would_not_be_exact_are_refused(codes):
    with pytest.raises(EngineError, match="too large"):
        ScoreCalibration.fit(codes << 18, PERSON)
