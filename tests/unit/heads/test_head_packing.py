"""Statistics as nodes send them: the sums that the coordinator would compute itself, and nothing else is taken."""

import struct

import numpy as np
import pytest
import torch
from reram_fleet.wire.head_statistics import packed_size

from edge_node.errors import AdapterError
from edge_node.recognition.head_share import packed_statistics, share_cost
from fleet.heads.errors import StatisticsError
from fleet.heads.packing import open_packed, pack_statistics, sum_packed
from fleet.heads.statistics import HeadStatistics, total
from hwmodel import load_preset


def codes(samples=3, features=7, largest=300):
    return np.random.default_rng(2).integers(-largest, largest + 1, (samples, features)).astype(np.int32)


def opened(packed):
    return sum_packed([open_packed(packed)])


@pytest.mark.parametrize("largest", [300, 2_300, 20_000, 30_000_000])
def test_packed_statistics_are_those_of_the_codes(largest):
    x = codes(largest=largest)

    packed = packed_statistics(torch.from_numpy(x))

    assert opened(packed).equals(HeadStatistics.of(x))


@pytest.mark.parametrize(("largest", "width"), [(300, 4), (30_000_000, 8)])
def test_entries_take_four_bytes_if_they_fit(largest, width):
    assert len(packed_statistics(torch.from_numpy(codes(largest=largest)))) == packed_size(7, width)


def test_statistics_of_no_samples_are_zero():
    packed = packed_statistics(torch.zeros(0, 7, dtype=torch.int32))

    assert opened(packed).equals(HeadStatistics.zero(7))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (torch.zeros(3, 2), "integers"),
        (torch.zeros(3, dtype=torch.int32), "integers"),
        (torch.full((4, 2), 1 << 26), "2\\^53"),
    ],
)
def test_codes_that_cannot_be_summed_exactly_are_refused(bad, said):
    with pytest.raises(AdapterError, match=said):
        packed_statistics(bad)


def good():
    return packed_statistics(torch.from_numpy(codes()))


def header(magic=b"RFH1", features=7, count=3, width=4):
    return struct.pack("<4sIII", magic, features, count, width) + good()[16:]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"RFH1", "no packed statistics"),
        (good()[:-1], "bytes; got"),
        (good() + b"\0", "bytes; got"),
        (header(magic=b"RFH2"), "RFH2"),
        (header(features=8), "bytes; got"),
        (header(features=1 << 30), "1073741824 features"),
        (header(features=0), "0 features"),
        (header(width=3), "3 bytes"),
        (good()[: 16 + 56] + struct.pack("<i", -1) + good()[16 + 60 :], "no sums of squares"),
    ],
)
def test_other_bytes_are_refused(bad, said):
    with pytest.raises(StatisticsError, match=said):
        open_packed(bad)


def test_entries_beyond_what_float64_holds_are_refused():
    packed = bytearray(packed_statistics(torch.from_numpy(codes(features=2, largest=30_000_000))))
    packed[-8:] = struct.pack("<q", 1 << 53)

    with pytest.raises(StatisticsError, match="2\\^53"):
        open_packed(bytes(packed))


def test_cost_grows_with_samples_and_features():
    preset = load_preset("180nm-1t1r")

    assert share_cost(preset, 2, 100).energy_j > share_cost(preset, 1, 100).energy_j
    assert share_cost(preset, 1, 200).energy_j > 3 * share_cost(preset, 1, 100).energy_j
    assert share_cost(preset, 1, 100).cell_writes == 0


def test_sum_of_packed_statistics_is_that_of_the_codes_in_any_order_and_width():
    parts = [codes(samples=k, largest=largest) for k, largest in ((1, 300), (4, 30_000_000), (2, 20_000))]
    packed = [open_packed(packed_statistics(torch.from_numpy(x))) for x in parts]
    expected = total([HeadStatistics.of(x) for x in parts], 7)

    assert {part.triangle.itemsize for part in packed} == {4, 8}
    assert sum_packed(packed).equals(expected)
    assert sum_packed(reversed(packed)).equals(expected)


def test_sum_leaves_its_parts_as_they_are():
    packed = packed_statistics(torch.from_numpy(codes(largest=30_000_000)))
    part = open_packed(packed)
    sum_packed([part, part])

    assert opened(packed).equals(sum_packed([part]))


def test_sum_of_nothing_of_other_features_or_beyond_the_limit_is_refused():
    with pytest.raises(StatisticsError, match="no statistics"):
        sum_packed([])
    with pytest.raises(StatisticsError, match="of 7 and of 3 features"):
        sum_packed(open_packed(pack_statistics(HeadStatistics.zero(d))) for d in (7, 3))
    large = open_packed(pack_statistics(HeadStatistics.of(np.full((1, 7), 70_000_000))))
    with pytest.raises(StatisticsError, match="2\\^53"):
        sum_packed([large, large])


def test_packing_again_gives_the_same_statistics():
    statistics = HeadStatistics.of(codes())

    assert opened(pack_statistics(statistics)).equals(statistics)
