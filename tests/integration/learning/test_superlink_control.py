from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from reram_fleet.processes.flower import process_environment, program
from reram_fleet.processes.supervised import SupervisedProcess

from fleet.doctor.findings import State
from fleet.doctor.isolation import embedded, walls
from fleet.learning.errors import FlowerCommandError, LearningPlaneError, RunNotFoundError
from fleet.learning.superlink import SuperLink, remembered_port
from tests.tls import issued


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    superlink = SuperLink.embedded(tmp_path_factory.mktemp("state"))
    superlink.start()
    try:
        superlink.wait_ready()
        yield superlink
    finally:
        superlink.stop()


def statuses(superlink: SuperLink) -> dict[int, str]:
    """Return registered, online or offline of every registered node by its Flower node id."""
    return {int(node["node-id"]): node["status"] for node in superlink.command("supernode", "list")["nodes"]}


def public_key() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_a_doctor_finds_the_superlink_and_says_under_whom_it_runs(superlink: SuperLink) -> None:
    process = embedded(psutil.Process())
    assert process is not None
    assert superlink.process_id == process.ppid()
    (finding,) = walls(psutil.Process(), process, "running", superlink.folder)
    # No cage yet: what it starts can read the coordinator's keys.
    assert finding.state is State.WARNING
    assert "runs under the coordinator's user, with no namespace of its own" in finding.found


def test_registering_a_key_again_gives_the_same_node_id(superlink: SuperLink) -> None:
    # Holds the one private API of Flower that we use to what it does today: fleet.learning.control_api.
    first_key, second_key = public_key(), public_key()

    first = superlink.register_supernode(first_key, "edge-1")
    second = superlink.register_supernode(second_key, "edge-2")

    assert first != second
    assert superlink.register_supernode(first_key + " edge-1", "edge-1") == first
    assert statuses(superlink) == {first: "registered", second: "registered"}


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
    with pytest.raises(RunNotFoundError):
        superlink.command.run_status(12345)
    superlink.command.stop(12345)
    assert superlink.command("ls")["runs"] == []


def test_a_supernode_comes_online_through_the_proxy_of_an_attached_coordinator(
    superlink: SuperLink, tmp_path: Path
) -> None:
    attached = SuperLink.attached(tmp_path, superlink.control_address, superlink.folder / "tls" / "ca.pem")
    attached.wait_ready()
    key = ec.generate_private_key(ec.SECP384R1())
    key_path, ca_path = tmp_path / "flower.key", tmp_path / "ca.pem"
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    files, authority = issued(tmp_path)
    ca_path.write_bytes(authority.pem)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    node_id = attached.register_supernode(public.decode(), "edge-4")
    proxy = attached.open_proxy(files)
    proxy.start()
    supernode = SupervisedProcess(
        name="supernode",
        command=[
            program("flower-supernode"),
            *("--superlink", proxy.address, "--root-certificates", str(ca_path)),
            *("--auth-supernode-private-key", str(key_path), "--port", str(remembered_port(tmp_path / "port"))),
        ],
        log_path=tmp_path / "supernode.log",
        environment=process_environment(tmp_path / "flwr"),
    )
    supernode.start()
    try:
        seen = {statuses(attached)[node_id]}
        for _ in range(30):
            if "online" in seen:
                break
            seen.add(statuses(attached)[node_id])
    finally:
        supernode.stop()
        proxy.stop()
    assert "online" in seen, (tmp_path / "supernode.log").read_text()
    # Ours to use, not ours to end.
    attached.stop()
    superlink.wait_ready(5.0)


def test_stopping_leaves_no_process_behind(superlink: SuperLink) -> None:
    assert superlink.process_id is not None
    reaper = psutil.Process(superlink.process_id)
    family = [reaper, *reaper.children(recursive=True)]
    assert len(family) >= 3  # reaper, flower-superlink, flower-superexec

    superlink.stop()

    assert [process for process in family if process.is_running()] == []
