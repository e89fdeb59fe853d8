"""A real `edge-node run` with the real engine, against a real gRPC coordinator that the test scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf import json_format
from prometheus_client.parser import text_string_to_metric_families
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.tickets import ticket_text
from reram_fleet.processes.channel import open_channel
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2_grpc import EngineServiceStub
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.config import StateFolder
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ProgrammedChip
from edge_node.tasks.samples import encode_sample
from edge_node.tasks.speakers import load_people
from fleet.trust.tls import Authority
from tests.integration.node.scripted_coordinator import ScriptedCoordinator, eventually

BOUNDS, RATIOS = ("low", "value", "high"), ("training", "deployment", "inference")
CLI = [sys.executable, "-c", "from edge_node.cli import main; main()"]


@dataclass
class Device:
    """One node's folder, its coordinator, and its process while it runs."""

    folder: Path
    coordinator: ScriptedCoordinator
    process: subprocess.Popen[bytes] | None = None
    options: list[str] = field(default_factory=list)

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*CLI, arguments[0], "--state", str(self.folder), *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    def join(self, enrollment: EnrollNodeResponse) -> None:
        file = self.folder.parent / "enrollment.json"
        file.write_text(json_format.MessageToJson(enrollment))
        self.cli("join", str(file))

    def start(self, *options: str) -> None:
        log = (self.folder.parent / "node.log").open("ab")
        options = ("--heartbeat", "0.2", "--metrics-port", "0", *self.options, *options)
        command = [*CLI, "run", "--state", str(self.folder), *options]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        eventually("run.json", self.ready)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder.parent / "node.log").read_text()
        try:
            return self.addresses["pid"] == self.process.pid
        except FileNotFoundError:
            return False

    @property
    def addresses(self) -> dict[str, object]:
        return json.loads((self.folder / "run.json").read_text())

    def call(self, method: str, request: object, token: str | None = None) -> object:
        token = (self.folder / "engine.token").read_text() if token is None else token
        with open_channel(str(self.addresses["engine_address"]), b"") as channel:
            metadata = [("authorization", f"Bearer {token}")]
            return getattr(EngineServiceStub(channel), method)(request, timeout=60, metadata=metadata)

    def status(self) -> engine_pb2.GetStatusResponse:
        return self.call("GetStatus", engine_pb2.GetStatusRequest())

    def identify(self, person: str) -> engine_pb2.IdentifyResponse:
        samples = [encode_sample(sample) for sample in load_people([person])[person].test[:10]]
        return self.call("Identify", engine_pb2.IdentifyRequest(samples=samples))

    def enroll(self, tag: str, person: str) -> engine_pb2.EnrollResponse:
        samples = [encode_sample(sample) for sample in load_people([person])[person].train]
        return self.call("Enroll", engine_pb2.EnrollRequest(ticket=self.coordinator.fake.consent(tag), samples=samples))

    def wait_serving(self) -> None:
        eventually("SERVING", lambda: self.status().serve_state == types.SERVE_STATE_SERVING)

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code


def make_device(root: Path) -> Device:
    folder = root / "state"
    done = subprocess.run(
        [*CLI, "init", "--state", str(folder), "--node-id", "node-1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    identity = json_format.Parse(done.stdout, types.NodeIdentity())
    return Device(folder, ScriptedCoordinator(identity))


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = make_device(tmp_path)
    device.options = ["--no-flower"]
    device.join(device.coordinator.enrollment())
    yield device
    if device.process is not None:
        device.end(signal.SIGKILL)
    device.coordinator.stop()


def accepted(answer: engine_pb2.IdentifyResponse, tag: str) -> float:
    assert not answer.backbone_only
    return float(np.mean([row.accepted and row.best_tag == tag for row in answer.answers]))


def test_a_person_is_learned_suppressed_and_erased_over_a_sigkill(device: Device) -> None:
    coordinator, fake = device.coordinator, device.coordinator.fake
    kept, forgotten = new_tag(), new_tag()
    device.start()
    device.wait_serving()

    # Learned: the coordinator gets the integer sum, sealed; the node recognises them.
    adapters = {}
    for tag, person in ((kept, "s04"), (forgotten, "s05")):
        assert device.enroll(tag, person).count == 30
        contribution = signing.open_envelope(
            coordinator.next("contribution"), node_pb2.Contribution, coordinator.identity.receipt_public_key
        )
        purpose = sealing.contribution_purpose(fake.fleet_id, "node-1", contribution.subject_tag)
        opened = sealing.open_sealed(fake.sealing_key, purpose, contribution.adapter)
        adapters[contribution.subject_tag] = types.SubjectAdapter.FromString(opened)
    assert {tag: adapter.count for tag, adapter in adapters.items()} == {kept: 30, forgotten: 30}
    assert accepted(device.identify("s04"), kept) >= 0.8
    assert accepted(device.identify("s05"), forgotten) >= 0.8
    assert json.loads(device.cli("authenticate", "--tag", kept, "--person", "s04").stdout)["accepted"]
    impostor = device.cli("authenticate", "--tag", kept, "--person", "s05", check=False)
    assert (impostor.returncode, json.loads(impostor.stdout)["accepted"]) == (5, False)

    # Suppressed: at once, and for good.
    fake.forget(forgotten)
    coordinator.say(fake.log_after(0))
    assert coordinator.next("suppressed").log_head == fake.log_head
    device.wait_serving()
    assert accepted(device.identify("s05"), forgotten) == 0.0
    nobody = device.cli("authenticate", "--tag", forgotten, "--person", "s05", check=False)
    assert (nobody.returncode, "FORGOTTEN_TAG" in nobody.stderr) == (1, True)
    with pytest.raises(grpc.RpcError) as refused:
        device.enroll(forgotten, "s05")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    # Killed: it comes back without a lease, so with the backbone only.
    costs = {cost.phase: cost.energy_j for cost in device.status().costs}
    coordinator.leasing = False
    device.end(signal.SIGKILL)
    device.start()
    answer = device.identify("s04")
    assert (answer.backbone_only, list(answer.answers)) == (True, [])
    status = device.status()
    assert (status.generation, list(status.subject_tags)) == (1, [kept])
    program = types.ENERGY_PHASE_PROGRAM
    assert {cost.phase: cost.energy_j for cost in status.costs}[program] == costs[program]
    coordinator.leasing = True
    device.wait_serving()
    hello = coordinator.hellos[-1]
    assert hello.generation == 1
    assert str(device.addresses["metrics_address"]).endswith(f":{hello.metrics_port}")
    assert (len(hello.chip.ratios), 0.9 < hello.chip.endurance_left < 1) == (3, True)
    assert accepted(device.identify("s04"), kept) >= 0.8

    # A revision from before the forget is refused, the repaired one taken.
    coordinator.say(fake.revision(coordinator.identity, 1, list(adapters.values()), built_at_generation=0))
    assert "built at generation 0" in coordinator.next("revision_result").refusal
    coordinator.say(fake.revision(coordinator.identity, 2, [adapters[kept]]))
    result = coordinator.next("revision_result")
    assert result.active
    assert (result.overhead.cell_writes, result.overhead.reprogramming_ratio > 1) == (0, True)

    # Erased: the receipt holds.
    probes = [[round(value / 30) for value in adapters[tag].code_sum] for tag in (kept, forgotten)]
    coordinator.say(fake.erase(1, 2, nonce=b"challenge", probes=probes))
    receipt = signing.open_envelope(coordinator.next("receipt"), types.Receipt, coordinator.identity.receipt_public_key)
    assert receipt.outcome == types.RECEIPT_OUTCOME_ERASED
    assert (receipt.command_hash, receipt.challenge_nonce) == (signing.payload_hash(fake.log[0]), b"challenge")
    assert (receipt.code_samples_erased, receipt.keys_destroyed, receipt.reram_writes) == (30, 1, 0)
    assert [result.subject_tag for result in receipt.probe_results] == [kept, ""]
    assert [path.stem for path in (device.folder / "subject-keys").iterdir()] == [kept]

    assert device.end(signal.SIGTERM) == 0
    assert not (device.folder / "run.json").exists()


def test_a_running_node_answers_its_owner_and_refuses_what_it_must(device: Device) -> None:
    # The coordinator must not be reached yet: the first connection waits.
    device.start("--connect-delay", "1000000")
    status = json_format.Parse(device.cli("status").stdout, engine_pb2.GetStatusResponse())
    assert status.quarantine_reason == types.QUARANTINE_REASON_STARTING
    assert (status.node_id, status.supernode, status.connected) == ("node-1", "disabled", False)
    tag = new_tag()
    ticket = ticket_text(device.coordinator.fake.consent(tag))
    enrolled = json.loads(device.cli("enroll", "--person", "s06", "--ticket", ticket).stdout)
    assert enrolled["count"] == 30
    assert json.loads(device.cli("identify", "--person", "s06").stdout)["backboneOnly"]

    def refused(method: str, request: object, token: str | None = None) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as error:
            device.call(method, request, token)
        return error.value.code()

    bad_samples = {
        "NaN": encode_sample(np.full((5, 12), np.nan, np.float32)),
        "channels": encode_sample(np.zeros((5, 3), np.float32)),
        "bytes": engine_pb2.Sample(frames=5, channels=12, values=b"1234"),
        "empty": engine_pb2.Sample(),
    }
    for sample in bad_samples.values():
        request = engine_pb2.EnrollRequest(ticket=device.coordinator.fake.consent(new_tag()), samples=[sample])
        assert refused("Enroll", request) is grpc.StatusCode.INVALID_ARGUMENT
    assert list(device.status().subject_tags) == [tag]
    assert refused("GetStatus", engine_pb2.GetStatusRequest(), "guess") is grpc.StatusCode.UNAUTHENTICATED
    forged = ScriptedCoordinator(device.coordinator.identity)
    ticket = forged.fake.ticket(
        device.coordinator.identity, device.coordinator.identity.sealing_public_key, sealing.new_key()
    )
    forged.stop()
    request = engine_pb2.RunRoundRequest(ticket=ticket, sealed_state=b"")
    assert refused("RunRound", request) is grpc.StatusCode.PERMISSION_DENIED
    port = str(device.addresses["metrics_address"]).rpartition(":")[2]
    neighbour = make_device(device.folder.parent / "neighbour")
    neighbour.join(neighbour.coordinator.enrollment())
    taken = neighbour.cli("run", "--no-flower", "--metrics-port", port, check=False)
    neighbour.coordinator.stop()
    assert taken.returncode == 1
    assert f"cannot serve metrics on port {port}: Address already in use; --metrics-port" in taken.stderr
    second = device.cli("run", "--no-flower", check=False)
    assert (second.returncode, "another edge-node" in second.stderr) == (1, True)

    metrics = str(device.addresses["metrics_address"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{metrics}/metrics", timeout=30) as response:
        text = response.read().decode()
    assert tag not in text
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["edge_node_energy_joules_total", "program", "modelled"] > 0
    assert samples["edge_node_reram_cell_writes_total", "program"] > 0
    bands = [[samples["edge_node_paper_ratio", bound, name] for bound in BOUNDS] for name in RATIOS]
    assert all(0 < low < value < high for low, value, high in bands)
    assert 0.9 < samples["edge_node_endurance_left_ratio",] < 1
    assert samples["process_start_time_seconds",] > 0
    with opener.open(f"http://{metrics}/healthz", timeout=30) as response:
        assert response.status == 200
    with pytest.raises(urllib.error.HTTPError, match="503") as unready, opener.open(f"http://{metrics}/readyz"):
        pass
    assert "not connected" in unready.value.read().decode()
    unready.value.close()
    assert samples["edge_node_serve_state", "quarantined"] == 1.0
    assert samples["edge_node_quarantine_reason", "starting"] == 1.0
    assert samples["edge_node_stale_inferences_refused_total",] > 0
    assert samples["edge_node_forget_generation",] == 0.0


def test_a_running_node_calibrates_itself_and_its_chip_goes_on_ageing_over_a_sigkill(device: Device) -> None:
    def inferred_j() -> float:
        return {cost.phase: cost.energy_j for cost in device.status().costs}[types.ENERGY_PHASE_INFER]

    def programmed_at_unix_ms() -> int | None:
        journal = Journal.open(StateFolder(device.folder).journal, "node-1")
        try:
            return journal.programmed_at_unix_ms()
        finally:
            journal.close()

    begun_ms = time.time_ns() // 1_000_000
    device.start("--calibrate-every", "1")
    at_start_j = inferred_j()
    eventually("a calibration", lambda: inferred_j() >= 1.9 * at_start_j)
    device.end(signal.SIGKILL)
    made_ms = programmed_at_unix_ms()
    device.start()
    device.end(signal.SIGTERM)

    assert made_ms is not None
    assert begun_ms <= made_ms <= time.time_ns() // 1_000_000
    assert programmed_at_unix_ms() == made_ms


def test_a_node_that_meets_somebody_else_says_so_and_serves_nobody(device: Device) -> None:
    authority = Authority.new("of the fleet that it joined")
    device.join(device.coordinator.fake.enrollment(device.coordinator.address, authority.pem))
    device.start()
    said = eventually("a refusal", lambda: device.addresses["refusal"])
    assert f"whoever answers at {device.coordinator.address} is not the coordinator" in said
    assert not device.status().connected
    assert device.coordinator.hellos == []


def test_the_supernode_runs_with_the_daemon_and_dies_with_it(tmp_path: Path) -> None:
    device = make_device(tmp_path)
    enrollment = device.coordinator.enrollment()
    enrollment.flower_fleet_address = "127.0.0.1:9"
    enrollment.flower_ca_pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    device.join(enrollment)
    try:
        device.start()
        assert device.process is not None
        daemon = psutil.Process(device.process.pid)

        def supernodes() -> list[psutil.Process]:
            return [p for p in daemon.children(recursive=True) if "--superlink" in p.cmdline()]

        children = eventually("a SuperNode", supernodes)
        assert device.status().supernode in ("running", "backing-off")
        command = children[0].cmdline()
        assert command[command.index("--superlink") + 1] == "127.0.0.1:9"
        assert str(device.folder / "keys" / "flower.key") in command
        started = daemon.children(recursive=True)
        device.end(signal.SIGKILL)
        gone, alive = psutil.wait_procs(started, timeout=30)
        assert (len(gone), alive) == (len(started), [])
    finally:
        if device.process is not None:
            device.end(signal.SIGKILL)
        device.coordinator.stop()


def test_the_client_app_and_the_command_line_import_neither_torch_nor_the_engine() -> None:
    code = (
        "import sys, edge_node.cli, edge_node.agent.client_app\n"
        "assert edge_node.agent.client_app.app is not None\n"
        "print([name for name in ('torch', 'edge_node.recognition.engine', 'hwmodel') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


def test_a_technology_that_there_is_not_is_refused_before_anything_is_made(tmp_path):
    command = [*CLI, "run", "--state", str(tmp_path / "node"), "--preset", "nope"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)

    assert done.returncode == 1
    assert "nope" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_node_does_not_run_on_a_chip_that_was_programmed_for_something_else(device: Device) -> None:
    journal = Journal.open(StateFolder(device.folder).journal, "node-1")
    with journal.transaction():
        journal.note_chip(ProgrammedChip("speakers", "180nm-1t1r", 0), 1000)
    journal.close()
    done = device.cli("run", "--no-flower", "--preset", "22nm", check=False)
    assert done.returncode == 1
    assert "programmed for --task speakers --preset 180nm-1t1r --fleet-seed 0" in done.stderr
    assert "Traceback" not in done.stderr
