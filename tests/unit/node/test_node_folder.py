"""Files of a node: what is in them, who may read them, and what must not be made anew."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.identities import check_identity
from reram_fleet.errors import KeyFileError
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.config import StateFolder
from edge_node.errors import StateFolderError
from edge_node.storage.journal import Journal
from edge_node.storage.keys import NodeKeys
from edge_node.testing import FakeCoordinator

Samples = Callable[..., list[np.ndarray]]
CA = b"certificate of an authority"
ON_FILES = pytest.mark.parametrize("storage", ["files"])


def contents(root: Path) -> bytes:
    return b"\0\0".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


def encodings(values: list[int]) -> list[bytes]:
    """A vector of codes as it would look if it were stored in the clear."""
    sums = types.SubjectAdapter(code_sum=values)
    row = types.LoraRow(codes=values)
    return [
        np.array(values, "<i4").tobytes(),
        np.array(values, "<i8").tobytes(),
        np.array(values, "<f4").tobytes(),
        sums.SerializeToString(),
        row.SerializeToString(),
        ", ".join(map(str, values)).encode(),
    ]


@ON_FILES
def test_no_file_of_the_state_folder_holds_a_planted_code_or_recording(
    node: Node, coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    person, shared = new_tag(), new_tag()
    code = [70_001, -70_003, 70_007, -70_009, 70_019, -70_021, 70_027, -70_029]
    sample = np.array(code, np.float32)[None]
    in_revision = [81_001, 81_013, -81_017, 81_019, 81_023, -81_031, 81_041, 81_043]
    adapter = types.SubjectAdapter(subject_tag=shared, count=1, code_sum=in_revision)
    needles = [*encodings(code), *encodings(in_revision)]

    def found() -> list[bytes]:
        return [needle for needle in needles if needle in contents(tmp_path)]

    (tmp_path / "control").write_bytes(needles[0])
    assert found() == [needles[0]], "the search itself must be able to find something"
    (tmp_path / "control").unlink()

    identity = node.context.keys.identity
    node.enroll(coordinator.consent(person), [sample])
    node.receive(coordinator.revision(identity, 1, [adapter]))
    assert found() == []
    coordinator.forget(person, shared)
    node.receive(coordinator.log_after(0))
    node.receive(coordinator.revision(identity, 2, []))
    sealed = bytes(node._journal.enrolments()[0].ciphertext)
    assert sealed in contents(tmp_path)
    node.receive(coordinator.erase(1, 2))
    assert found() == []
    # secure_delete: not even the ciphertext is left in the database.
    assert sealed[:64] not in contents(tmp_path)


@ON_FILES
def test_everything_in_the_folder_is_readable_by_its_owner_only(
    node: Node, coordinator: FakeCoordinator, samples: Samples, tmp_path: Path
) -> None:
    node.enroll(coordinator.consent(new_tag()), samples(0))
    root = tmp_path / "state"
    for path in [root, *root.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path.name


def test_identity_of_a_node_proves_that_it_has_its_keys(tmp_path: Path) -> None:
    check_identity(NodeKeys.create(StateFolder(tmp_path / "node"), "node-1").identity)


def test_making_a_node_twice_gives_the_same_identity(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert NodeKeys.create(folder, "node-1").identity == NodeKeys.create(folder, "node-1").identity
    with pytest.raises(KeyFileError, match="holds node node-1"):
        NodeKeys.create(folder, "node-2")


@pytest.mark.parametrize("name", ["", "Node", "a/b", "-a", "a" * 64, "a b"])
def test_a_node_name_is_a_dns_label(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError):
        NodeKeys.create(StateFolder(tmp_path), name)
    assert not list(tmp_path.iterdir())


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    NodeKeys.create(folder, "node-1")
    (folder.keys / "signing.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="0644"):
        NodeKeys.load(folder)


def test_a_journal_that_is_lost_is_not_made_anew(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    NodeKeys.create(folder, "node-1")
    folder.check_journal()
    Journal.open(folder.journal, "node-1").close()
    folder.note_journal_made()
    folder.check_journal()
    folder.journal.unlink()
    with pytest.raises(StateFolderError, match="this node had one"):
        folder.check_journal()


@pytest.mark.parametrize("content", [b"", b"short", b" " * 43])
def test_an_engine_token_that_would_open_to_anybody_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = StateFolder(tmp_path)
    token = folder.load_or_create_engine_token()
    assert folder.load_or_create_engine_token() == token
    folder.engine_token.write_bytes(content)
    with pytest.raises(StateFolderError, match="opens nothing"):
        folder.load_or_create_engine_token()
    folder.engine_token.chmod(0o644)
    with pytest.raises(KeyFileError, match="0644"):
        folder.load_or_create_engine_token()


def test_private_keys_do_not_show_in_repr(tmp_path: Path) -> None:
    assert repr(NodeKeys.create(StateFolder(tmp_path), "node-1")) == "NodeKeys('node-1')"


def test_one_daemon_per_folder(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    with folder.locked(), pytest.raises(StateFolderError, match="another edge-node"), folder.locked():
        pass


def test_a_node_does_not_move_to_a_fleet_with_another_key(tmp_path: Path, coordinator: FakeCoordinator) -> None:
    folder = StateFolder(tmp_path)
    folder.save_enrollment(coordinator.enrollment("127.0.0.1:1", CA))
    folder.save_enrollment(coordinator.enrollment("127.0.0.1:2", CA))
    assert folder.load_enrollment().node_service_address == "127.0.0.1:2"
    with pytest.raises(StateFolderError, match="another command key"):
        folder.save_enrollment(FakeCoordinator().enrollment("127.0.0.1:1", CA))


def test_an_incomplete_enrollment_is_refused(tmp_path: Path, coordinator: FakeCoordinator) -> None:
    enrollment = coordinator.enrollment("127.0.0.1:1", CA)
    enrollment.command_public_key = b"short"
    with pytest.raises(StateFolderError, match="5 bytes"):
        StateFolder(tmp_path).save_enrollment(enrollment)
    assert not list(tmp_path.iterdir())


def test_a_node_that_joined_before_coordinators_had_tls_says_that_it_must_join_again(
    tmp_path: Path, coordinator: FakeCoordinator
) -> None:
    folder = StateFolder(tmp_path)
    before = coordinator.enrollment("127.0.0.1:1")
    with pytest.raises(StateFolderError, match="coordinator_ca_pem is missing"):
        folder.save_enrollment(before)
    folder.enrollment.write_text(json_format.MessageToJson(before))
    with pytest.raises(StateFolderError, match="join again"):
        folder.load_enrollment()
    folder.save_enrollment(coordinator.enrollment("127.0.0.1:1", CA))
    assert folder.load_enrollment().coordinator_ca_pem.encode() == CA


def test_a_socket_needs_no_authority(tmp_path: Path, coordinator: FakeCoordinator) -> None:
    folder = StateFolder(tmp_path)
    folder.save_enrollment(coordinator.enrollment("unix:/run/fleet/coordinator.sock"))
    assert folder.load_enrollment().node_service_address == "unix:/run/fleet/coordinator.sock"
