"""Random streams depend on their key alone."""

import pytest
import torch

from hwmodel import (
    StreamKeyError,
    keyed_generator,
    keyed_normal,
    keyed_seed,
    keyed_uint16,
    keyed_uint16_rows,
    normal_quantiles,
)


def test_same_key_gives_the_same_stream():
    first = torch.rand(8, generator=keyed_generator(1, "batches", "node-a", 3))
    second = torch.rand(8, generator=keyed_generator(1, "batches", "node-a", 3))

    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "other",
    [
        (2, "p", "a", 1),
        (1, "q", "a", 1),
        (1, "p", "b", 1),
        (1, "p", "a", 2),
        (1, "p", "a", "1"),
        (1, "p", "a"),
        (1, "p", "a1"),
        (1, "pa", 1),
    ],
)
def test_any_difference_in_the_key_gives_another_stream(other):
    assert keyed_seed(1, "p", "a", 1) != keyed_seed(*other)
    assert not torch.equal(keyed_uint16(1, "p", "a", 1, count=16), keyed_uint16(*other, count=16))


def test_streams_never_change():
    """Chips are regenerated, not stored: these numbers hold for ever."""
    assert keyed_seed(1, "crossbar.program", "node-a", 0) == 12071527557565138143
    assert keyed_uint16(1, "crossbar.program", "node-a", 0, count=4).tolist() == [35790, 60071, 27111, 46724]


def test_a_longer_stream_begins_with_the_shorter():
    assert torch.equal(keyed_uint16(5, "p", count=100)[:10], keyed_uint16(5, "p", count=10))


def test_normal_draws_are_standard_normal():
    draws = keyed_normal(5, "p", count=200_000)

    assert draws.mean().item() == pytest.approx(0, abs=0.01)
    assert draws.std().item() == pytest.approx(1, abs=0.01)
    assert draws.abs().max() < 4.33


def test_normal_quantiles_are_symmetric_and_increasing():
    table = normal_quantiles(torch.arange(65536))

    assert bool((table.diff() > 0).all())
    assert torch.allclose(table, -table.flip(0), atol=1e-12)


def test_no_quantile_is_so_close_to_a_rounding_boundary_that_another_cpu_could_round_it_elsewhere():
    steps = normal_quantiles(torch.arange(65536)) * 16  # 1 uS on a grid of 0.0625 uS

    assert ((steps % 1) - 0.5).abs().min() > 1e-8


@pytest.mark.parametrize("key", [True, 1.5, None])
def test_keys_that_are_neither_int_nor_str_are_refused(key):
    with pytest.raises(StreamKeyError, match="int or str"):
        keyed_seed(1, "p", key)


def test_a_stream_without_purpose_or_with_negative_length_is_refused():
    with pytest.raises(StreamKeyError, match="purpose"):
        keyed_seed(1, "")
    with pytest.raises(StreamKeyError, match="-1"):
        keyed_uint16(1, "p", count=-1)


def test_rows_of_draws_are_the_streams_with_the_row_as_last_key():
    rows = keyed_uint16_rows(7, "reads", "node", 3, rows=[5, 0, 5, 123_456_789_012], count=40)

    single = [keyed_uint16(7, "reads", "node", 3, row, count=40) for row in (5, 0, 5, 123_456_789_012)]
    assert rows.dtype == torch.int32
    assert torch.equal(rows, torch.stack(single))
    assert keyed_uint16_rows(7, "reads", rows=[], count=40).shape == (0, 40)
    with pytest.raises(StreamKeyError, match="negative"):
        keyed_uint16_rows(7, "reads", rows=[1], count=-1)
    with pytest.raises(StreamKeyError, match="int or str"):
        keyed_uint16_rows(7, "reads", rows=[True], count=1)
