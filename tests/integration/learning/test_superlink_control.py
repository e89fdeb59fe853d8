"""The SuperLink of a plane, as coordinators ask it: keys, nodes, runs, and its end."""

from __future__ import annotations

import time

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.doctor.findings import State
from fleet.doctor.isolation import embedded, walls
from fleet.learning.errors import FlowerCommandError, LearningPlaneError, RunNotFoundError
from fleet.learning.superlink import SuperLink
from tests.integration.learning.plane import Plane


@pytest.fixture
def superlink(plane: Plane) -> SuperLink:
    return plane.superlink


def statuses(superlink: SuperLink) -> dict[int, str]:
    """Return registered, online or offline of every registered node by its Flower node id."""
    return {int(node["node-id"]): node["status"] for node in superlink.command("supernode", "list")["nodes"]}


def public_key() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_a_doctor_finds_the_superlink_and_says_under_whom_it_runs(superlink: SuperLink) -> None:
    # Not below this process: other tests' fleets may live in it as well, each with a SuperLink.
    process = embedded(psutil.Process(superlink.process_id))
    assert process is not None
    assert superlink.process_id == process.ppid()
    (finding,) = walls(psutil.Process(), process, "running", superlink.folder)
    # No cage yet: what it starts can read the coordinator's keys.
    assert finding.state is State.WARNING
    assert "runs under the coordinator's user, with no namespace of its own" in finding.found


def test_registering_a_key_again_gives_the_same_node_id(plane: Plane) -> None:
    # Holds the one private API of Flower that we use to what it does today: fleet.learning.control_api.
    first, second = plane.nodes
    assert first != second
    key = plane.nodes[first].flower_public_key
    assert plane.superlink.register_supernode(f"{key} edge-1", "edge-1") == first


def test_the_key_of_an_unregistered_node_is_taken_no_more(superlink: SuperLink) -> None:
    key = public_key()
    node_id = superlink.register_supernode(key, "edge-5")
    superlink.unregister_supernode(node_id)
    assert statuses(superlink)[node_id] == "unregistered"
    with pytest.raises(LearningPlaneError):
        superlink.register_supernode(key, "edge-5")
    with pytest.raises(FlowerCommandError):
        superlink.unregister_supernode(node_id)


def test_a_key_that_is_no_key_is_refused(superlink: SuperLink) -> None:
    with pytest.raises(FlowerCommandError):
        superlink.register_supernode("not a key", "edge-3")


def test_a_run_that_nobody_started_is_not_found_and_counts_as_stopped(superlink: SuperLink) -> None:
    superlink.command.stop(12345)
    with pytest.raises(RunNotFoundError):
        superlink.command.run_status(12345)


def test_supernodes_come_online_through_the_proxy_of_an_attached_coordinator(plane: Plane) -> None:
    seen = {node_id: {status} for node_id, status in statuses(plane.attached).items() if node_id in plane.nodes}
    for _ in range(30):
        if all("online" in states for states in seen.values()):
            break
        for node_id, states in seen.items():
            states.add(statuses(plane.attached)[node_id])
    assert seen.keys() == plane.nodes.keys()
    assert all("online" in states for states in seen.values())
    # Ours to use, not ours to end.
    plane.attached.stop()
    plane.superlink.wait_ready(5.0)


def test_a_supernode_that_was_killed_is_followed_by_another_at_once(plane: Plane) -> None:
    log_path = plane.superlink.folder / "superlink.log"
    node_id, node = next(iter(plane.nodes.items()))
    let_in = f"Activated node_id={node_id}"

    def times_let_in(more_than: int) -> int:
        # Flower itself would refuse the second one for two heartbeats of 30 s.
        deadline_s = time.monotonic() + 25
        while (times := log_path.read_text().count(let_in)) <= more_than:
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
        return times

    before = times_let_in(more_than=0)
    node.kill_supernode()
    times_let_in(more_than=before)
    assert f"Deactivated node_id={node_id}" in log_path.read_text()


def test_stopping_leaves_no_process_behind(plane: Plane) -> None:
    """The last one, since it ends the plane."""
    family = plane.superlink_processes()
    assert len(family) >= 3  # reaper, flower-superlink, flower-superexec

    plane.stop()

    assert [process for process in family if process.is_running()] == []
