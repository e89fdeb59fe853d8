"""EngineService on a Unix socket: what an application on the device is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from reram_fleet.crypto.identifiers import new_tag

from edge_node.agent.node import Node
from edge_node.agent.service import EngineService, serve
from edge_node.tasks.samples import encode_sample
from edge_node.testing import FakeCoordinator
from fleet.local.engine_client import EngineClient
from fleet.local.errors import EngineCallError
from tests.unit.node.talk import Samples


def test_application_is_told_that_the_disk_is_full(
    node: Node,
    coordinator: FakeCoordinator,
    samples: Samples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    service = EngineService(node, connected=lambda: True, supernode=lambda: "disabled", changed=lambda: None)
    server, address = serve(service, "token", tmp_path / "engine.sock")
    monkeypatch.setattr(type(node.context.cipher.subject_keys), "create", full)
    try:
        with EngineClient("node-1", address, "token") as engine, pytest.raises(EngineCallError) as refused:
            engine.enroll(coordinator.consent(new_tag()), [encode_sample(sample) for sample in samples(0)])
    finally:
        server.stop(grace=None).wait()
    assert "INTERNAL: this node's folder cannot be used now: No space left on device" in str(refused.value)
    assert "a call of the engine failed" in caplog.text
