"""The filter bank on made-up photos: exact codes whatever the batch, and the task's roles."""

import math

import numpy as np
import pytest
import torch

from edge_node.backbones.filters import (
    COARSE,
    EVENING,
    FINE,
    LIGHT,
    LIGHT_LEVELS,
    FilterBank,
    gabor_bank,
    patch_codes,
)
from edge_node.errors import SampleError, TaskError
from edge_node.tasks import faces, load_task
from edge_node.tasks.data_folder import DATA_VARIABLE
from edge_node.tasks.faces import FOLDER_VARIABLE, FacesTask
from hwmodel import EnergyLedger, Phase, load_preset

NODES = ("north", "east", "south")


def photos(count, seed=3):
    """Smooth random pictures: sums of a few waves."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:64] / 64
    made = []
    for _ in range(count):
        waves = generator.uniform(-9, 9, (6, 2))
        picture = sum(np.cos(2 * np.pi * (a * x + b * y)) for a, b in waves) + generator.normal(0, 0.3, (64, 64))
        made.append(((picture - picture.min()) / np.ptp(picture)).astype(np.float32))
    return made


def bank(nodes=NODES, layout=FINE):
    ledger = EnergyLedger(len(nodes))
    return FilterBank.program(load_preset("180nm-1t1r"), 5, nodes, ledger, layout=layout), ledger


@pytest.fixture(scope="module")
def fleet():
    return bank()


LAYOUTS = pytest.mark.parametrize("layout", [FINE, COARSE], ids=["fine", "coarse"])


@LAYOUTS
def test_filters_are_balanced_and_all_different(layout):
    filters = gabor_bank(layout)

    assert filters.shape == (2 * sum(orientations for _, orientations, _ in layout.bands), 144)
    assert filters.abs().amax(dim=1).min() > 0.99
    assert filters.mean(dim=1).abs().max() < 1e-3
    unit = torch.nn.functional.normalize(filters, dim=1)
    assert (unit @ unit.T - torch.eye(len(unit))).abs().max() < 0.95


@LAYOUTS
def test_windows_cover_every_position_and_features_stay_within_what_heads_are_planned_for(layout):
    covered = {position for first, end in layout.windows for position in range(first, end)}

    assert covered == set(range(layout.positions))
    assert bank(NODES[:1], layout)[0].features <= 1024


def test_a_face_moved_by_one_pixel_moves_fine_codes_less():
    (sample,), (other,) = photos(1), photos(1, seed=8)

    def moved(layout):
        filters, ledger = bank(NODES[:1], layout)
        shown = [sample, np.roll(sample, 1, axis=1), other]
        here, shifted, else_ = filters.capture(shown, ledger, Phase.INFER)[0].double()
        return float((here - shifted).norm() / (here - else_).norm())

    assert moved(FINE) < moved(COARSE)


def test_codes_are_bitwise_the_same_for_any_batch_order_and_number_of_nodes(fleet):
    filters, ledger = fleet
    samples = photos(40)

    together = filters.capture(samples, ledger, Phase.INFER)
    alone, own = bank(NODES[1:2])
    backwards = alone.capture(samples[::-1], own, Phase.INFER).flip(1)
    one_by_one = torch.cat([alone.capture([c], own, Phase.INFER) for c in samples[:5]], dim=1)

    assert together.shape == (3, 40, filters.features)
    assert torch.equal(backwards[0], together[1])
    assert torch.equal(one_by_one[0], together[1, :5])
    assert not torch.equal(together[0], together[1])


@LAYOUTS
def test_features_are_roots_of_mean_rectified_products_by_window_and_sign(layout):
    filters, ledger = bank(NODES, layout)
    side, samples = layout.positions, photos(2)
    pixels = torch.stack([torch.from_numpy(np.rint(sample.astype(np.float64) * 255)).long() for sample in samples])
    codes = patch_codes(pixels, layout.stride)
    products = filters.filters.mvm(codes.reshape(1, -1, 144).expand(3, -1, -1)).view(3, 2, side, side, -1)

    found = filters.capture(samples, ledger, Phase.INFER).view(3, 2, len(layout.windows) ** 2, -1)

    signed = torch.cat([products.clamp(min=0), (-products).clamp(min=0)], dim=-1)
    squares = [(rows, columns) for rows in layout.windows for columns in layout.windows]
    for number, ((top, bottom), (left, right)) in enumerate(squares):
        mean = signed[:, :, top:bottom, left:right].double().mean(dim=(2, 3))
        assert torch.equal(found[:, :, number], (64 * mean.sqrt()).round().int())


def test_patches_are_evened_as_the_formula_says_in_whole_numbers():
    photo = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (1, 64, 64)))
    patch = LIGHT[photo[0, 20:32, 40:52]].flatten().tolist()
    mean = sum(patch) / 144
    deviation = math.sqrt(sum((light - mean) ** 2 for light in patch) / 144)

    codes = patch_codes(photo, FINE.stride)[0, 10 * FINE.positions + 20]

    expected = [(light - mean) / (deviation + EVENING) * 127 / 2.5 for light in patch]
    assert (
        max(abs(code - min(127, max(-127, exact))) for code, exact in zip(codes.tolist(), expected, strict=True)) < 0.51
    )


def test_light_levels_are_fifth_roots_that_no_library_rounds_otherwise_and_whose_squares_float32_sums():
    roots = [LIGHT_LEVELS * (grey / 255) ** 0.2 for grey in range(256)]

    assert LIGHT.tolist() == [round(root) - LIGHT_LEVELS / 2 for root in roots]
    assert min(abs(root % 1 - 0.5) for root in roots) > 1e-4
    assert 144 * float(LIGHT.abs().max()) ** 2 < 2**24


def test_a_shadow_across_a_face_changes_the_codes_less_than_another_face(fleet):
    filters, ledger = fleet
    sample, other = photos(1)[0], photos(1, seed=8)[0]
    shadow = np.where(np.arange(64) < 30, np.float32(0.15), np.float32(1))
    codes = filters.capture([sample, sample * shadow, other], ledger, Phase.INFER)[0].double()

    assert (codes[0] - codes[1]).norm() < 0.6 * (codes[0] - codes[2]).norm()


def test_brightness_and_contrast_hardly_change_the_codes(fleet):
    filters, ledger = fleet
    sample = photos(1)[0]
    codes = filters.capture(
        [sample, (0.5 * sample + 0.3).astype(np.float32), photos(1, seed=8)[0]], ledger, Phase.INFER
    )[0].double()
    codes -= codes.mean(dim=0)

    def distance(a, b):
        return float((codes[a] - codes[b]).norm())

    assert distance(0, 1) < 0.5 * distance(0, 2)


def test_a_plain_photo_has_no_features(fleet):
    filters, ledger = fleet
    assert patch_codes(torch.full((1, 64, 64), 99), FINE.stride).abs().max() == 0
    plain = filters.capture([np.full((64, 64), 0.4, np.float32)], ledger, Phase.INFER)
    assert plain.float().mean() < 0.1 * filters.capture(photos(1), ledger, Phase.INFER).float().mean()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.zeros((64, 63), np.float32), "64, 63"),
        (np.zeros((64, 64)), "float64"),
        (np.full((64, 64), 1.5, np.float32), "0 to 1"),
        (np.full((64, 64), np.nan, np.float32), "0 to 1"),
    ],
)
def test_what_is_no_photo_is_refused_before_anything_is_charged(fleet, bad, said):
    filters, ledger = fleet
    mark = ledger.mark()

    with pytest.raises(SampleError, match=said):
        filters.capture([photos(1)[0], bad], ledger, Phase.INFER)

    assert ledger.since(mark)[Phase.INFER].energy_j == 0


def test_energy_grows_with_photos_and_no_photo_costs_none(fleet):
    filters, ledger = fleet
    mark = ledger.mark()
    assert filters.capture([], ledger, Phase.INFER).shape == (3, 0, filters.features)
    assert ledger.since(mark)[Phase.INFER].energy_j == 0

    filters.capture(photos(1), ledger, Phase.VERIFY)
    one = ledger.since(mark)[Phase.VERIFY].energy_j
    filters.capture(photos(3), ledger, Phase.VERIFY)

    assert ledger.since(mark)[Phase.VERIFY].energy_j == pytest.approx(4 * one)


def test_roles_are_disjoint_complete_and_drawn_by_the_seed():
    one, other = FacesTask.of(1), FacesTask.of(2)

    split = one.split
    assert (len(split.public), len(split.enrolled), len(split.strangers)) == (10, 20, 10)
    assert len({*split.public, *split.enrolled, *split.strangers}) == 40
    assert other.split != split
    assert load_task("faces").split == split


def test_missing_photos_say_where_they_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    faces._photos.cache_clear()

    with pytest.raises(TaskError, match=f"{FOLDER_VARIABLE} or {DATA_VARIABLE}.*olivetti_py3"):
        load_task("faces").load_people()


def test_photos_are_looked_for_in_their_own_folder_then_in_that_of_all_data(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert faces.photos_folder() is None

    (tmp_path / "olivetti_py3.pkz").touch()
    assert faces.photos_folder() == str(tmp_path)

    monkeypatch.setenv(FOLDER_VARIABLE, "/elsewhere")
    assert faces.photos_folder() == "/elsewhere"
