"""A fleet whose database is in memory: the same coordinator, for simulations."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.small_fleet import ANN, campaign_state, states
from tests.unit.store.kinds import MEMORY


@pytest.mark.parametrize("kept_in", [MEMORY], indirect=True)
def test_a_forget_goes_its_way_and_leaves_no_database(coordinator, nodes, tmp_path):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert set(states(coordinator, campaign.campaign_id).values()) == {"verified"}
    assert list(tmp_path.rglob("*.db")) == []
