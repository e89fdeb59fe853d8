"""Recorded figures: the same however often the fleet is told, and while shards of nodes are cut anew."""

from __future__ import annotations

import pytest

from tests.unit.metrics.promtool import (
    MINUTES,
    Check,
    after_a_reset,
    check,
    growing,
    steady,
    told_twice,
)

#: Nodes that suppressed within so many seconds.
BUCKETS = {"0.5": 1.0, "1": 9.0, "2.5": 10.0, "+Inf": 10.0}
FLEET = {
    'fleet_energy_joules_total{phase="infer"}': growing(60),
    'fleet_energy_joules_total{phase="radio"}': growing(120),
    'fleet_nodes{state="serving"}': steady(3),
    'fleet_nodes{state="lost"}': steady(1),
    "fleet_nodes_connected": steady(3),
    "fleet_forget_generation": steady(7),
    'fleet_node_applied_forget_generation{node="node-1"}': steady(5),
    # The shard was scraped after the fleet.
    'fleet_node_applied_forget_generation{node="node-2"}': steady(8),
    'fleet_receipts_total{verdict="verified"}': growing(3),
    'fleet_receipts_total{verdict="held"}': growing(1),
    "fleet_deployment_overhead_joules": steady(2),
    "fleet_deployment_overhead_radio_joules": steady(1),
    "fleet_deployment_reprogramming_joules": steady(8),
    **{
        f'fleet_forget_{what}_duration_seconds_bucket{{le="{le}"}}': growing(nodes)
        for what in ("suppress", "verify")
        for le, nodes in BUCKETS.items()
    },
}
RECORDED = {
    "phase:fleet_energy_watts:rate5m": [({"phase": "infer"}, 1), ({"phase": "radio"}, 2)],
    "fleet:energy_watts:rate5m": [({}, 3)],
    "state:fleet_nodes:ratio": [({"state": "serving"}, 0.75), ({"state": "lost"}, 0.25)],
    "fleet:nodes_connected:ratio": [({}, 0.75)],
    "node:fleet_generation_lag:max": [({"node": "node-1"}, 2), ({"node": "node-2"}, 0)],
    "fleet:deployment_overhead_radio:ratio": [({}, 0.5)],
    "fleet:deployment_overhead_reprogramming:ratio": [({}, 0.25)],
    "fleet:receipts_invalid:ratio_1h": [({}, 0.25)],
    # Halfway into the bucket from 0.5 to 1; and 9 of 10 lie below 1.
    "fleet:forget_suppress_duration_seconds:p50_1h": [({}, 0.75)],
    "fleet:forget_verify_duration_seconds:p99_1h": [({}, 2.35)],
}


def recorded(expected):
    return {
        # Ratios of floats.
        f"round({name}, 1e-6)": samples
        for name, samples in expected.items()
    }


def per_node(*shards):
    """Return the joules of a node that spends a watt, as the shard says that it is in."""
    return {
        f'fleet_node_energy_joules_total{{node="node-1",phase="infer",instance="coordinator/nodes/{shard}"}}': [
            60 * minute if minute in minutes else None for minute in range(MINUTES)
        ]
        for shard, minutes in shards
    }


@pytest.mark.parametrize("told", [dict, told_twice, after_a_reset])
def test_figures_are_those_of_one_fleet(tmp_path, told):
    check(tmp_path, Check("fleet", told(FLEET), recorded(RECORDED)))


def test_without_forgets_there_is_no_quantile_and_no_ratio(tmp_path):
    quiet = {name: steady(values[-1]) for name, values in FLEET.items()}
    names = ("fleet:forget_suppress_duration_seconds:p50_1h", "fleet:receipts_invalid:ratio_1h")
    check(tmp_path, Check("quiet", quiet, {name: [] for name in names}))


@pytest.mark.parametrize(("moved_at", "shown"), [(20, 1), (MINUTES - 3, 0.5)])
def test_a_node_that_moves_to_another_shard_spends_no_more_and_less_for_a_moment(tmp_path, moved_at, shown):
    moved = per_node((0, range(moved_at)), (1, range(moved_at, MINUTES)))
    watts = {"node:fleet_node_energy_watts:rate5m": [({"node": "node-1"}, shown)]}
    top = {"node:fleet_node_energy_watts:topk10": [({"node": "node-1"}, shown)]}

    check(tmp_path, Check("moves", moved, recorded(watts | top)))
