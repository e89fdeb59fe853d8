"""Metrics of a node, its health, and where it says that they are."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
import torch
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from reram_fleet.crypto import signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.addresses import is_local
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse

from edge_node.agent import metrics
from edge_node.agent.metrics import NodeCollector, NodeHealth, serve_metrics
from edge_node.errors import NodeError
from edge_node.testing import FakeClock, FakeCoordinator, MemoryEngine, MemoryNode
from hwmodel import Phase, load_network
from hwmodel.cost.ratios import network_ratios

from .talk import adapter, grant, identity, only

RATIOS = {"training", "deployment", "inference"}


class MixerEngine(MemoryEngine):
    """An engine with the paper's face network on a chip that has used up a quarter of its endurance."""

    @property
    def wear(self):
        return torch.tensor([0.25])

    def network(self, node):
        return load_network("face-mixer")


@pytest.fixture
def coordinator():
    return FakeCoordinator()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def node(coordinator, clock):
    memory = MemoryNode("node-1", clock=clock, make_engine=MixerEngine)
    memory.join(coordinator.enrollment("127.0.0.1:1"))
    yield memory.node
    memory.node.close()


def collector_of(node, connected=True):
    return NodeCollector(node, lambda: connected, lambda: "running")


def text_of(node, **options):
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector_of(node, **options))
    return generate_latest(registry).decode()


def samples_of(text):
    return {
        (sample.name.removeprefix("edge_node_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_energy_is_modelled_and_counted_by_phase_as_in_the_ledger(node, samples):
    node.context.engine.capture(samples(1))
    spent = node.context.engine.ledger.totals()
    said = samples_of(text_of(node))

    for phase in Phase:
        assert said[("energy_joules_total", *sorted(("modelled", phase)))] == spent[phase].energy_j
        assert said["busy_seconds_total", phase] == spent[phase].seconds
        assert said["moved_bytes_total", phase] == spent[phase].bytes
        assert said["reram_cell_writes_total", phase] == spent[phase].cell_writes
    assert spent[Phase.PROGRAM].cell_writes > 0
    assert spent[Phase.INFER].energy_j > 0
    assert said["energy_model_info", "1", "memory"] == 1
    assert [key[0] for key in said if key[0].startswith("build_info")] == ["build_info"]


def test_a_node_says_how_it_serves_and_how_long_it_still_may(node, coordinator, clock):
    before = samples_of(text_of(node, connected=False))
    grant(node, coordinator, max_age_s=30.0)
    clock.advance(10.0)
    serving = samples_of(text_of(node))
    clock.advance(25.0)
    after = samples_of(text_of(node))

    def states(said):
        hot = {key[1] for key, value in said.items() if key[0] == "serve_state" and value == 1}
        return hot, {key[1] for key, value in said.items() if key[0] == "quarantine_reason" and value == 1}

    assert states(before) == ({"quarantined"}, {"no_lease"})
    assert states(serving) == ({"serving"}, set())
    assert states(after) == ({"quarantined"}, {"lease_expired"})
    left = [said["lease_remaining_seconds",] for said in (before, serving, after)]
    assert left == pytest.approx([0, 20, 0])
    assert [said["connected",] for said in (before, serving)] == [0, 1]


def test_deployment_overhead_is_that_of_the_active_revision_and_nothing_before(node, coordinator):
    assert not [key for key in samples_of(text_of(node)) if key[0].startswith("deployment_")]

    (answer,) = node.receive(coordinator.revision(identity(node), 1, [adapter(new_tag(), 0)]))
    overhead = answer.revision_result.overhead
    said = samples_of(text_of(node))

    assert said["deployment_overhead_joules",] == overhead.energy_j > 0
    assert said["deployment_overhead_radio_joules",] == overhead.radio_energy_j > 0
    assert said["deployment_overhead_seconds",] == overhead.seconds
    assert said["deployment_overhead_bytes",] == overhead.bytes
    assert said["deployment_overhead_cell_writes",] == overhead.cell_writes == 0
    assert said["deployment_reprogramming_cell_writes",] == overhead.reprogramming_cell_writes > 0
    assert said["deployment_overhead_ratio", "chip"] == overhead.reprogramming_ratio
    assert said["deployment_overhead_ratio", "with_radio"] == overhead.reprogramming_ratio_with_radio
    assert said["revision",] == 1
    assert said["subject_adapters",] == 1


def test_the_papers_ratios_and_the_endurance_left_are_the_energy_models(node):
    said = samples_of(text_of(node))
    expected = {
        found.ratio.name.lower(): found
        for found in network_ratios(load_network("face-mixer"), _preset(node), draws=1000)
    }

    assert set(expected) == RATIOS
    for name, found in expected.items():
        bounds = {"low": found.band.p5, "value": found.nominal, "high": found.band.p95}
        assert {bound: said[("paper_ratio", *sorted((name, bound)))] for bound in bounds} == bounds
    assert said["endurance_left_ratio",] == 0.75


def _preset(node):
    return node.context.engine._preset


def test_every_family_is_described_with_its_labels_and_names_no_person(node, coordinator, samples):
    tag = new_tag()
    grant(node, coordinator)
    node.enroll(coordinator.consent(tag), samples(1))
    node.receive(coordinator.revision(identity(node), 1, [adapter(tag, 0)]))
    collector = collector_of(node)

    described, collected = list(collector.describe()), list(collector.collect())

    assert [(f.name, f.type, f.documentation, f._labelnames) for f in described] == [
        (f.name, f.type, f.documentation, f._labelnames) for f in collected
    ]
    for family in collected:
        assert family.samples, family.name
        for sample in family.samples:
            assert set(sample.labels) <= {
                "phase",
                "source",
                "state",
                "reason",
                "ratio",
                "bound",
                "scope",
                "name",
                "version",
            }
    assert tag not in text_of(node)


def test_an_unwell_journal_or_a_lock_that_nobody_gives_back_makes_a_node_sick(node, monkeypatch):
    health = NodeHealth(node, lambda: True)
    assert health.sick() == ""

    journal = node.context.journal._connection
    journal.execute("ALTER TABLE node RENAME TO lost")
    assert health.sick() == "cannot read the journal: no such table: node"
    journal.execute("ALTER TABLE lost RENAME TO node")
    assert health.sick() == ""
    monkeypatch.setattr(metrics, "LOCK_PATIENCE_S", 0.05)
    with held(node.context.lock):
        assert "lock has been held" in health.sick()
        assert "lock has been held" in health.unready()
        with pytest.raises(NodeError, match="lock has been held"):
            text_of(node)
    assert health.sick() == ""


@contextmanager
def held(lock):
    """Hold a lock in another thread."""
    taken, free = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            free.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        free.set()
        thread.join()


def test_a_node_is_ready_when_it_is_connected_and_serves_and_says_why_not(node, coordinator, clock):
    connected = True
    health = NodeHealth(node, lambda: connected)

    assert health.unready() == "it is quarantined: no_lease"
    grant(node, coordinator)
    assert health.unready() == ""
    connected = False
    assert "not connected" in health.unready()
    connected = True
    clock.advance(31.0)
    assert health.unready() == "it is quarantined: lease_expired"


def test_three_pages_are_served_and_no_others(node, coordinator):
    server, port = serve_metrics(collector_of(node), NodeHealth(node, lambda: True), 0)
    try:
        pages = {path: ask(port, path) for path in ("/metrics", "/healthz", "/readyz", "/")}
        with pytest.raises(NodeError, match=f"port {port}.*in use.*--metrics-port"):
            serve_metrics(collector_of(node), NodeHealth(node, lambda: True), port)
        grant(node, coordinator)
        ready = ask(port, "/readyz")
    finally:
        server.shutdown()
        server.server_close()

    assert {path: status for path, (status, _) in pages.items()} == {
        "/metrics": 200,
        "/healthz": 200,
        "/readyz": 503,
        "/": 404,
    }
    assert "no_lease" in pages["/readyz"][1]
    assert ready == (200, "ok\n")
    assert "process_start_time_seconds" in pages["/metrics"][1]
    assert "edge_node_serve_state" in pages["/metrics"][1]


def ask(port, path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_hello_has_the_chips_figures_and_the_port_of_the_metrics(node):
    node.metrics_port = 9811
    answers = node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"fresh")))
    (envelope,) = only(answers, "hello")
    hello = signing.open_envelope(envelope, node_pb2.Hello, identity(node).receipt_public_key)

    assert hello.metrics_port == 9811
    assert hello.chip == node.context.engine.chip_figures(0)
    assert {
        types.PaperRatio.Name(band.ratio).removeprefix("PAPER_RATIO_").lower() for band in hello.chip.ratios
    } == RATIOS


@pytest.mark.parametrize("address", ["127.0.0.1:9800", "[::1]:9800", "localhost:9800", "unix:/run/fleet/api.sock"])
def test_a_coordinator_on_this_machine_can_say_where_metrics_are(address):
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.7:9800", "fleet.example:9800", "[2001:db8::1]:9800", "0.0.0.0:1", ""])
def test_a_coordinator_elsewhere_cannot(address):
    assert not is_local(address)
