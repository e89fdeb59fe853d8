from __future__ import annotations

from importlib.metadata import version

import pytest
from reram_fleet.v1.operator_pb2 import GetFleetResponse, Node

from fleet.doctor.findings import State
from fleet.doctor.target import Answer, Target
from fleet.doctor.versions import check_versions


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install the metadata of another version of a package in front of the real one."""

    def install(name, other):
        info = tmp_path / f"{name}-{other}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {other}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_the_versions_here_are_those_that_the_package_allows():
    first, *_ = check_versions(Target())
    assert first.state is State.OK
    assert f"grpcio {version('grpcio')}" in first.found


def test_a_library_that_the_package_does_not_allow_is_a_failure(installed):
    installed("sqlalchemy", "1.4.0")
    first, *_ = check_versions(Target())
    assert first.state is State.FAILURE
    assert "sqlalchemy 1.4.0 (<3,>=2.0.45)" in first.found


def test_a_coordinator_and_nodes_of_other_versions_are_warnings():
    nodes = [Node(node_id="node-1", software_version="0.0.1"), Node(node_id="node-2", software_version="0.0.2")]
    answer = Answer(GetFleetResponse(version="0.0.1"), nodes, (), 0, 0)
    _, coordinator, others = check_versions(Target(answer=answer))
    assert (coordinator.state, others.state) == (State.WARNING, State.WARNING)
    assert "of version 0.0.1, this program of" in coordinator.found
    assert others.found.endswith("0.0.2 on 1")
