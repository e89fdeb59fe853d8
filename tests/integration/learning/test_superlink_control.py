from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.learning.errors import FlowerCommandError, RunNotFoundError
from fleet.learning.submit import run_status, stop
from fleet.learning.superlink import SuperLink


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    superlink = SuperLink.embedded(tmp_path_factory.mktemp("state"))
    superlink.start()
    try:
        superlink.wait_ready()
        yield superlink
    finally:
        superlink.stop()


def public_key() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_registering_a_key_again_gives_the_same_node_id(superlink: SuperLink) -> None:
    # Holds the one private API of Flower that we use to what it does today: fleet.learning.control_api.
    first_key, second_key = public_key(), public_key()

    first = superlink.register_supernode(first_key, "edge-1")
    second = superlink.register_supernode(second_key, "edge-2")

    assert first != second
    assert superlink.register_supernode(first_key + " edge-1", "edge-1") == first
    assert superlink.list_supernodes() == {first: "registered", second: "registered"}


def test_a_key_that_is_no_key_is_refused(superlink: SuperLink) -> None:
    with pytest.raises(FlowerCommandError):
        superlink.register_supernode("not a key", "edge-3")


def test_a_run_that_nobody_started_is_not_found_and_counts_as_stopped(superlink: SuperLink) -> None:
    with pytest.raises(RunNotFoundError):
        run_status(superlink, 12345)
    stop(superlink, 12345)
    assert superlink.ls_runs() == []


def test_stopping_leaves_no_process_behind(superlink: SuperLink) -> None:
    assert superlink.process_id is not None
    tether = psutil.Process(superlink.process_id)
    family = [tether, *tether.children(recursive=True)]
    assert len(family) >= 3  # tether, flower-superlink, flower-superexec

    superlink.stop()

    assert [process for process in family if process.is_running()] == []
