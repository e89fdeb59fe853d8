"""Log-mel levels and random spectral filters on made-up voices: exact integers, whatever the batch."""

import numpy as np
import pytest
import torch

from edge_node.backbones import log_mel
from edge_node.backbones.log_mel import FRAME, HOP, MAX_SAMPLES, MIN_SAMPLES, OCTAVE, LogMel, mel_weights
from edge_node.backbones.spectral import BANDS, FILTERS, SPAN, SpectralFilters
from edge_node.errors import EngineError, SampleError
from hwmodel import EnergyLedger, Phase, load_preset

from .voices import voice, voices

NODES = ("north", "east", "south")


def filters(nodes=NODES, seed=5, **options):
    ledger = EnergyLedger(len(nodes))
    return SpectralFilters.program(load_preset("180nm-1t1r"), seed, nodes, ledger, **options), ledger


@pytest.fixture(scope="module")
def fleet():
    return filters()


def test_levels_are_those_of_a_fourier_transform_in_floating_point():
    sample = voices(1)[0]
    samples = sample[:, 0].astype(np.float64) * 32_767
    emphasised = np.append(samples[1:] - samples[:-1] * 31 / 32, 0)
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, FRAME)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(FRAME) + 0.5) / FRAME)
    power = np.abs(np.fft.rfft(frames * window))[:, 1:] ** 2 @ mel_weights(32)

    off = LogMel(32).levels(sample) / OCTAVE - np.log2(power)

    assert off.shape == (1 + (len(sample) - FRAME) // HOP, 32)
    loud = np.log2(power) > np.log2(power).max() - 20
    assert np.ptp(off[loud]) < 0.2
    assert np.abs(off[loud] - np.median(off)).mean() < 0.01


def test_levels_are_integers_that_do_not_depend_on_linear_algebra(monkeypatch):
    sample = voices(1, seed=2)[0]
    levels = LogMel(32).levels(sample)

    table = log_mel._fourier_table()
    reversed_order = np.arange(FRAME)[::-1]
    monkeypatch.setattr(log_mel, "_fourier_table", lambda: _SummedBackwards(table, reversed_order))

    assert levels.dtype == np.int64
    assert np.array_equal(LogMel(32).levels(sample), levels)


class _SummedBackwards:
    """A matrix whose products are summed in another order, in pieces."""

    __array_ufunc__ = None

    def __init__(self, table, order):
        self._table, self._order = table, order

    def __rmatmul__(self, frames):
        pieces = np.array_split(self._order, 7)
        return sum(frames[:, piece] @ self._table[piece] for piece in pieces)


def test_half_the_loudness_is_two_octaves_of_power_less():
    sample = voice(120, (500, 1_500), seed=3, loudness=0.5)
    sample = (np.rint(sample * 32_767 / 2) * 2 / 32_767).astype(np.float32)
    loud, quiet = LogMel(32).levels(sample), LogMel(32).levels((sample / 2).astype(np.float32))

    strong = loud > loud.max() - 12 * OCTAVE
    assert np.abs(loud - quiet - 2 * OCTAVE)[strong].max() <= 3


def test_every_band_hears_something_and_no_weight_exceeds_one():
    for bands in (28, 32, 70, 128):
        weights = mel_weights(bands)
        assert weights.shape == (128, bands)
        assert weights.sum(axis=0).min() >= 256 / 2
        assert (weights.min(), weights.max() <= 256) == (0, True)
    with pytest.raises(EngineError, match="1 to 128"):
        mel_weights(129)


def test_table_entry_on_a_rounding_boundary_is_refused():
    with pytest.raises(EngineError, match="rounding boundary"):
        log_mel._rounded(np.array([0.1, 2.5]), "nothing")


def test_silence_has_the_lowest_level_and_codes_at_the_bottom(fleet):
    silent = np.zeros((2_000, 1), np.float32)
    assert LogMel(BANDS).levels(silent).max() < LogMel(BANDS).levels(voices(1)[0]).min()
    assert fleet[0].spans(silent).unique().tolist() == [-127]


def test_codes_are_bitwise_the_same_for_any_batch_order_and_number_of_nodes(fleet):
    bank, ledger = fleet
    samples = voices(70)

    together = bank.capture(samples, ledger, Phase.INFER)
    alone, own = filters(NODES[1:2])
    backwards = alone.capture(samples[::-1], own, Phase.INFER).flip(1)
    one_by_one = torch.cat([alone.capture([c], own, Phase.INFER) for c in samples[:5]], dim=1)

    assert sum(len(bank.spans(sample)) for sample in samples) > 2_048, "more than one chunk"
    assert together.shape == (3, 70, bank.features) == (3, 70, 1_024)
    assert together.dtype == torch.int32
    assert torch.equal(backwards[0], together[1])
    assert torch.equal(one_by_one[0], together[1, :5])
    assert not torch.equal(together[0], together[1])


def test_features_are_mean_and_deviation_above_and_below_the_threshold(fleet):
    bank, ledger = fleet
    sample = voices(1, seed=4)[0]
    codes = bank.spans(sample)
    assert codes.shape[1] == SPAN * BANDS

    y = bank.filters.mvm(codes.expand(3, -1, -1)).double() - bank._thresholds
    sides = torch.cat([y.clamp(min=0), (-y).clamp(min=0)], dim=2)
    expected = torch.cat([sides.mean(dim=1), sides.std(dim=1, correction=0)], dim=1) * 16

    captured = bank.capture([sample], ledger, Phase.INFER)[:, 0]
    assert (captured - expected).abs().max() <= 0.5 + 1e-6


def test_fleet_seed_draws_signs_and_thresholds():
    one, other = filters(NODES[:1], seed=1)[0], filters(NODES[:1], seed=2)[0]
    assert not torch.equal(one._thresholds, other._thresholds)
    assert not torch.equal(one.filters.cells.sign(), other.filters.cells.sign())
    assert one._thresholds.abs().max() <= 36
    assert len(one._thresholds) == FILTERS


def test_evened_filters_hear_no_loudness():
    sample = voice(140, (600, 1_700), seed=6, loudness=0.8)
    other = voice(100, (400, 2_300), seed=7, loudness=0.8)

    def distances(**options):
        bank, ledger = filters(NODES[:1], **options)
        codes = bank.capture([sample, (sample / 8).astype(np.float32), other], ledger, Phase.INFER)[0].double()
        return float((codes[0] - codes[1]).norm()), float((codes[0] - codes[2]).norm())

    by_loudness, by_voice = distances()
    assert by_loudness > 0.3 * by_voice
    by_loudness, by_voice = distances(evened=True)
    assert by_loudness < 0.2 * by_voice


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.zeros((MIN_SAMPLES - 1, 1), np.float32), "cut the recording"),
        (np.zeros((MAX_SAMPLES + 1, 1), np.float32), "cut the recording"),
        (np.zeros((2_000, 2), np.float32), "2000, 2"),
        (np.zeros(2_000, np.float32), "samples, 1"),
        (np.zeros((2_000, 1)), "float64"),
        (np.full((2_000, 1), 1.5, np.float32), "-1 to 1"),
        (np.full((2_000, 1), np.nan, np.float32), "-1 to 1"),
    ],
)
def test_what_is_no_sound_is_refused_before_anything_is_charged(fleet, bad, said):
    bank, ledger = fleet
    mark = ledger.mark()

    with pytest.raises(SampleError, match=said):
        bank.capture([voices(1)[0], bad], ledger, Phase.INFER)

    assert ledger.since(mark)[Phase.INFER].energy_j == 0


def test_energy_grows_with_the_length_of_samples_and_no_sample_costs_none(fleet):
    bank, ledger = fleet
    mark = ledger.mark()
    assert bank.capture([], ledger, Phase.INFER).shape == (3, 0, bank.features)
    assert ledger.since(mark)[Phase.INFER].energy_j == 0

    sample = voice(120, (500, 1_500), seed=1)
    bank.capture([sample], ledger, Phase.VERIFY)
    one = ledger.since(mark)[Phase.VERIFY].energy_j
    bank.capture([sample, sample], ledger, Phase.VERIFY)

    assert one > 0
    assert ledger.since(mark)[Phase.VERIFY].energy_j == pytest.approx(3 * one)
