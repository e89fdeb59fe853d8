"""Recording rules: figures that boards and alerts share, and that would be dear to compute for each look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.metrics.definitions import Recording


def _quantiles(what: str) -> list[Recording]:
    # Without a forget in that hour there is no quantile: NaN is no more than 0, and drops out.
    buckets = f"max by (le) (increase(fleet_forget_{what}_duration_seconds_bucket[1h]))"
    return [
        Recording(f"fleet:forget_{what}_duration_seconds:{name}_1h", f"histogram_quantile({q}, {buckets}) >= 0")
        for name, q in (("p50", "0.5"), ("p99", "0.99"))
    ]


#: Rules by group; those of a group are computed one after the other.
RECORDINGS: Mapping[str, Sequence[Recording]] = {
    "fleet-energy": [
        Recording("phase:fleet_energy_watts:rate5m", "max by (phase) (rate(fleet_energy_joules_total[5m]))"),
        Recording("fleet:energy_watts:rate5m", "sum(phase:fleet_energy_watts:rate5m)"),
        Recording(
            "node:fleet_node_energy_watts:rate5m",
            "sum by (node) (max by (node, phase) (rate(fleet_node_energy_joules_total[5m])))",
        ),
        Recording("node:fleet_node_energy_watts:topk10", "topk(10, node:fleet_node_energy_watts:rate5m)"),
        Recording(
            "fleet:deployment_overhead_radio:ratio",
            "max(fleet_deployment_overhead_radio_joules) / (max(fleet_deployment_overhead_joules) > 0)",
        ),
        Recording(
            "fleet:deployment_overhead_reprogramming:ratio",
            "max(fleet_deployment_overhead_joules) / (max(fleet_deployment_reprogramming_joules) > 0)",
        ),
    ],
    "fleet-nodes": [
        Recording("state:fleet_nodes:max", "max by (state) (fleet_nodes)"),
        Recording(
            "state:fleet_nodes:ratio",
            "state:fleet_nodes:max / on () group_left () (sum(state:fleet_nodes:max) > 0)",
        ),
        Recording("fleet:nodes_connected:ratio", "max(fleet_nodes_connected) / (sum(state:fleet_nodes:max) > 0)"),
        Recording("fleet:generation_lag:max", "max(fleet_generation_lag_max)"),
        # The fleet and its shards are scraped at different moments: a node may be a step ahead.
        Recording(
            "node:fleet_generation_lag:max",
            "clamp_min(max(fleet_forget_generation) - on () group_right () "
            "max by (node) (fleet_node_applied_forget_generation), 0)",
        ),
    ],
    "fleet-forgets": [
        *_quantiles("suppress"),
        *_quantiles("verify"),
        Recording("verdict:fleet_receipts:increase1h", "max by (verdict) (increase(fleet_receipts_total[1h]))"),
        Recording(
            "fleet:receipts_invalid:ratio_1h",
            'sum(verdict:fleet_receipts:increase1h{verdict=~"held|unsolicited"}) '
            "/ (sum(verdict:fleet_receipts:increase1h) > 0)",
        ),
    ],
}
