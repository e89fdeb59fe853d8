"""Text that Prometheus scrapes, before and after a forget."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from reram_fleet.processes.monitoring import BadQueryError
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, Telemetry

from fleet.coordinator.metrics import registry
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.metrics.fleet import FleetCollector
from fleet.coordinator.metrics.nodes import NODES_PER_SHARD, NodesCollector, targets
from fleet.coordinator.node_service import metrics_address
from fleet.coordinator.nodes.report_checks import possible_chip
from fleet.domain.tallies import BUCKETS_S, Tally
from tests.unit.coordinator.small_fleet import ANN


def text_of(coordinator, **query):
    """Return what `/metrics` and `/metrics/nodes` say."""
    nodes = CollectorRegistry()
    nodes.register(NodesCollector.of(coordinator.coordinator, {name: [value] for name, value in query.items()}))
    fleet = registry(coordinator.coordinator, CallMeter())
    return (generate_latest(fleet) + generate_latest(nodes)).decode()


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_parse_move_and_name_no_person(coordinator, nodes):
    before = samples(text_of(coordinator))
    costs = [types.PhaseCost(phase=types.ENERGY_PHASE_ERASE, energy_j=0.5, cell_writes=3)]
    coordinator.take("node-1", ConnectRequest(telemetry=Telemetry(costs=costs)))
    # What is cumulative stays what the test has said.
    nodes[0].says = lambda message: None if message.HasField("telemetry") else message
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    text = text_of(coordinator)
    after = samples(text)
    assert (before[("fleet_forget_generation",)], after[("fleet_forget_generation",)]) == (0.0, 1.0)
    assert after[("fleet_nodes_connected",)] == 2.0
    assert after[("fleet_forget_executions", "verified")] == 2.0
    assert after[("fleet_forgets", "converged")] == 1.0
    assert after[("fleet_forget_oldest_unverified_age_seconds",)] == 0.0
    assert after[("fleet_receipts_total", "verified")] == 2.0
    assert after[("fleet_node_energy_joules_total", "erase", "modelled", "node-1")] == 0.5
    assert after[("fleet_node_reram_cell_writes_total", "node-1")] == 3.0
    assert after[("fleet_node_applied_forget_generation", "node-1")] == 1.0
    assert after[("fleet_node_serving", "node-1")] == 1.0
    assert after[("fleet_desired_revision",)] > before[("fleet_desired_revision",)]
    assert after[("fleet_deployment_overhead_joules",)] > 0
    assert after[("fleet_deployment_overhead_ratio", "with_radio")] > 0
    assert len(campaign.tags) == 2
    assert not [tag for tag in {*campaign.tags, *nodes[0].active(), campaign.campaign_id} if tag in text]
    assert not re.findall(r"[0-9a-f]{32}", text)


def test_ratios_of_the_fleet_are_those_of_sums(coordinator, nodes):
    coordinator.converse(*nodes)
    found = samples(text_of(coordinator))
    overheads = [node.node.status().overhead for node in nodes]
    chip_j = [one.energy_j - one.radio_energy_j for one in overheads]
    weighted = sum(one.reprogramming_ratio * each for one, each in zip(overheads, chip_j, strict=True)) / sum(chip_j)
    assert found[("fleet_deployment_overhead_ratio", "chip")] == pytest.approx(weighted)
    assert found[("fleet_deployment_overhead_joules",)] == pytest.approx(sum(one.energy_j for one in overheads))


def test_times_to_suppress_and_to_verify_are_counted_once_per_node(coordinator, nodes, clock):
    campaign, _ = coordinator.forget("r1", ANN)
    clock.now_ms += 700
    coordinator.converse(*nodes)
    found = samples(text_of(coordinator))
    for name in ("suppress", "verify"):
        family = f"fleet_forget_{name}_duration_seconds"
        assert found[(f"{family}_count",)] == 2.0
        assert found[(f"{family}_bucket", "0.5")] == 0.0
        assert found[(f"{family}_bucket", "1")] == 2.0
        assert found[(f"{family}_sum",)] == pytest.approx(1.4)
    with coordinator.transaction() as unit:
        tallies = unit.tx.tallies.all()
    assert tallies[Tally.SUPPRESS_SECONDS] == {"1": 2.0, "sum": pytest.approx(1.4)}
    assert 1.0 in BUCKETS_S
    assert campaign.generation == 1


def test_what_nodes_say_that_cannot_be_is_counted(coordinator, nodes):
    coordinator.take("node-1", ConnectRequest(telemetry=Telemetry(subject_adapters=1, inferences=2**60)))
    found = samples(text_of(coordinator))
    assert found[("fleet_refused_reports_total", "quarantined")] == 1.0
    assert found[("fleet_node_refused_reports_total", "node-1")] == 1.0


def test_shards_have_every_node_once(coordinator, nodes):
    whole = {key for key in samples(text_of(coordinator)) if key[0] == "fleet_node_connected"}
    shards = [
        {key for key in samples(text_of(coordinator, shard=str(shard), of="3")) if key[0] == "fleet_node_connected"}
        for shard in range(3)
    ]
    assert len(whole) == 2
    assert sorted(key for shard in shards for key in shard) == sorted(whole)


@pytest.mark.parametrize("query", [{"shard": "2", "of": "2"}, {"of": "0"}, {"shard": "x"}, {"shard": "-1"}])
def test_a_shard_that_is_not_there_is_refused(coordinator, query):
    with pytest.raises(BadQueryError, match="shard"):
        text_of(coordinator, **query)


def test_discovery_names_shards_and_nodes_that_can_be_reached(coordinator, nodes):
    coordinator.coordinator.env.sessions.of("node-2").metrics_address = "10.0.0.7:9811"
    shard, node = targets(coordinator.coordinator, "fleet.example:9810")
    assert shard["targets"] == ["fleet.example:9810"]
    assert (shard["labels"]["__param_shard"], shard["labels"]["__param_of"]) == ("0", "1")
    assert node == {"targets": ["10.0.0.7:9811"], "labels": {"instance": "node-2", "role": "node"}}
    assert NODES_PER_SHARD > 2


def test_families_can_be_described_without_a_fleet(coordinator):
    described = [*FleetCollector(coordinator.coordinator).describe()]
    described += NodesCollector(coordinator.coordinator, 0, 1).describe()
    described += CallMeter().describe()
    names = [family.name for family in described]
    assert len(set(names)) == len(names) > 50
    assert all(family.documentation.endswith(".") for family in described)
    said = {family.name.removesuffix("_info") for family in text_string_to_metric_families(text_of(coordinator))}
    assert said - set(names) <= {name for name in said if name.startswith(("process_", "python"))}


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:50123", "10.0.0.7:9811"),
        ("ipv6:%5B::1%5D:50123", "[::1]:9811"),
        ("unix:", "127.0.0.1:9811"),
        ("", ""),
    ],
)
def test_a_node_is_scraped_at_the_host_that_it_comes_from(peer, address):
    assert metrics_address(9811, peer) == address
    assert metrics_address(0, peer) == ""
    assert metrics_address(70_000, peer) == ""


def band(**fields):
    return types.RatioBand(**{"ratio": types.PAPER_RATIO_TRAINING, "value": 2, "low": 1, "high": 3, **fields})


def chips(*ratios, left=0.5):
    return types.ChipFigures(ratios=ratios, endurance_left=left)


@pytest.mark.parametrize(
    "chip",
    [
        chips(band(low=-1.0)),
        chips(band(low=4.0)),
        chips(band(value=0.0)),
        chips(band(value=float("nan"))),
        chips(band(high=float("inf"))),
        chips(band(ratio=types.PAPER_RATIO_UNSPECIFIED)),
        chips(band(), band()),
        chips(left=1.5),
    ],
)
def test_figures_of_a_chip_that_cannot_be_true_are_left_out(chip):
    assert possible_chip("n1", chips(band())) == chips(band())
    assert possible_chip("n1", chip) == types.ChipFigures()
