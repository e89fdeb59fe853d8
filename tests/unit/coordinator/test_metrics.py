"""Text that Prometheus scrapes, before and after a forget."""

from __future__ import annotations

import re

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, Telemetry

from fleet.coordinator.metrics import registry
from tests.unit.coordinator.small_fleet import ANN


def text_of(coordinator):
    return generate_latest(registry(coordinator.coordinator)).decode()


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
    assert after[("fleet_forget_oldest_unverified_age_seconds",)] == 0.0
    assert after[("fleet_node_energy_joules_total", "erase", "node-1")] == 0.5
    assert after[("fleet_node_reram_writes_total", "node-1")] == 3.0
    assert after[("fleet_node_applied_forget_generation", "node-1")] == 1.0
    assert after[("fleet_desired_revision",)] > before[("fleet_desired_revision",)]
    assert len(campaign.tags) == 2
    assert not [tag for tag in {*campaign.tags, *nodes[0].active(), campaign.campaign_id} if tag in text]
    assert not re.findall(r"[0-9a-f]{32}", text)
