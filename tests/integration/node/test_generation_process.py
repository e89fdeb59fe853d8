"""A real `edge-node run --task images-brief`: a class learnt, generated, forgotten over a SIGKILL, never back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import engine_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.tasks import load_task
from edge_node.tasks.samples import encode_sample
from tests.integration.node.test_node_process import Device, make_device

TASK = "images-brief"
KEPT, GONE = load_task(TASK).split.enrolled[:2]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    # The trained backbone goes to the user's cache: here a folder of the test's own.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    device = make_device(tmp_path)
    device.options = ["--no-flower", "--task", TASK]
    device.join(device.coordinator.enrollment())
    yield device
    if device.process is not None:
        device.end(signal.SIGKILL)
    device.coordinator.stop()


def enroll(device: Device, tag: str, name: str) -> engine_pb2.EnrollResponse:
    samples = [encode_sample(sample) for sample in load_task(TASK).load_people()[name].train[:10]]
    return device.call("Enroll", engine_pb2.EnrollRequest(ticket=device.coordinator.fake.consent(tag), samples=samples))


def generate(device: Device, **what: object) -> engine_pb2.GenerateResponse:
    return device.call("Generate", engine_pb2.GenerateRequest(count=3, seed=7, **what))


def code(device: Device, method: str, request: object) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        device.call(method, request)
    return refused.value.code()


def test_class_is_learnt_generated_and_forgotten_over_a_sigkill(device: Device) -> None:
    coordinator, fake = device.coordinator, device.coordinator.fake
    kept, gone = new_tag(), new_tag()
    device.start()
    device.wait_serving()
    never = generate(device, class_name=GONE)

    # Learnt: each class by its own adapter; whoever asks again learns nothing twice.
    assert enroll(device, kept, KEPT).train_cost.energy_j > 0
    images = generate(device, subject_tag=kept)
    enroll(device, gone, GONE)
    assert enroll(device, gone, GONE).train_cost.energy_j == 0
    assert np.frombuffer(images.levels, np.uint8).reshape(3, 24, 24, 3).std() > 0
    assert generate(device, subject_tag=gone).levels != never.levels

    # Suppressed at once; what is left is what there was before.
    fake.forget(gone)
    coordinator.say(fake.log_after(0))
    assert coordinator.next("suppressed").log_head == fake.log_head
    device.wait_serving()
    assert generate(device, subject_tag=gone).refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_TAG
    assert generate(device, subject_tag=kept).levels == images.levels
    assert generate(device, class_name=GONE).levels == never.levels
    sample = encode_sample(np.zeros((24, 72), np.float32))
    enrol = engine_pb2.EnrollRequest(ticket=fake.consent(gone), samples=[sample])
    assert code(device, "Enroll", enrol) is grpc.StatusCode.FAILED_PRECONDITION

    # Killed: without a lease the backbone alone generates; with one the same chip generates the same bytes.
    writes, coordinator.leasing = device.status().reram_writes, False
    device.end(signal.SIGKILL)
    device.start()
    answer = generate(device, subject_tag=kept)
    assert (answer.refusal, answer.levels) == (engine_pb2.TAG_REFUSAL_QUARANTINED, b"")
    assert generate(device, class_name=GONE).levels == never.levels
    status = device.status()
    assert (status.task, status.reram_writes, list(status.subject_tags)) == (TASK, writes, [kept])
    coordinator.leasing = True
    device.wait_serving()
    assert generate(device, subject_tag=kept).levels == images.levels

    # What this node cannot do, it says; what is malformed, too.
    identify = engine_pb2.IdentifyRequest(samples=[sample])
    assert code(device, "Identify", identify) is grpc.StatusCode.FAILED_PRECONDITION
    for malformed in (
        engine_pb2.GenerateRequest(count=3),
        engine_pb2.GenerateRequest(class_name="whale", count=3),
        engine_pb2.GenerateRequest(class_name="cat", style="baroque", count=3),
        engine_pb2.GenerateRequest(subject_tag=kept, count=0),
        engine_pb2.GenerateRequest(subject_tag=kept, count=10_000),
    ):
        assert code(device, "Generate", malformed) is grpc.StatusCode.INVALID_ARGUMENT

    assert types.ENERGY_PHASE_TRAIN in {cost.phase for cost in status.costs if cost.energy_j}
    assert device.end(signal.SIGTERM) == 0
