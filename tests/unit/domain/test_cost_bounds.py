from __future__ import annotations

import pytest

from fleet.domain.node import MAX_COUNT, MAX_ENERGY_J, MAX_SECONDS, decreased, out_of_range


@pytest.mark.parametrize(
    ("name", "most"), [("energy_j", MAX_ENERGY_J), ("erase_seconds", MAX_SECONDS), ("bytes", MAX_COUNT)]
)
def test_each_kind_of_number_has_a_range(name, most):
    assert out_of_range({name: 0, f"other_{name}": most}) == ""
    for value in (most * 1.001, -1e-9, float("nan"), float("inf"), -float("inf")):
        assert out_of_range({"first": 1, name: value}).startswith(f"{name} must lie in 0..")


def test_cumulative_numbers_may_stay_grow_and_come_new_but_not_shrink_or_vanish():
    before = {"energy_j": 1.5, "bytes": 0}
    assert decreased(before, {"energy_j": 1.5, "bytes": 7, "seconds": 1.0}) == ""
    assert decreased({}, before) == ""
    assert decreased(before, {"energy_j": 1.4, "bytes": 0}) == "energy_j is cumulative, and went from 1.5 to 1.4"
    assert decreased(before, {"bytes": 0}).startswith("energy_j is cumulative")
