from __future__ import annotations

import os
import shlex

import pytest

from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.testing import SteppedCoordinator
from fleet.doctor.findings import State
from fleet.doctor.keys import check_keys
from fleet.doctor.target import Target
from fleet.registry import Registry
from tests.components import WITHOUT_ROOT

NOBODY = 65534


@pytest.mark.parametrize("name", ["keys/command.key", "keys", "secrets", "fleet.db", "."])
def test_what_others_may_read_is_a_failure_with_the_command_that_mends_it(folder, found, failure, name):
    (folder.root / name).chmod(0o755)

    finding = failure("keys")

    assert finding.found == f"others may read {folder.root if name == '.' else name}"
    _, mode, *paths = shlex.split(finding.fix)
    assert (mode, paths) == ("go-rwx", [str(folder.root / name)])
    for path in paths:
        os.chmod(path, os.stat(path).st_mode & 0o700)
    assert found("keys", State.FAILURE) == []


def test_a_wide_key_is_refused_as_well_as_at_a_start(folder, found):
    (folder.keys / "command.key").chmod(0o644)
    _, refused = found("keys", State.FAILURE)
    assert "expected 0600" in refused.found


def test_a_missing_key_is_named(folder, failure):
    (folder.keys / "sealing.key").unlink()
    finding = failure("keys")
    assert "keys/sealing.key is missing" in finding.found
    assert "fleet admin restore" in finding.fix


def test_a_token_that_opens_nothing_is_a_failure(folder, failure):
    folder.learning_token.write_bytes(b"")
    assert "opens nothing" in failure("keys").found


@pytest.mark.skipif(WITHOUT_ROOT, reason="only root may give a file away")
def test_a_file_of_another_user_is_a_failure(folder, failure):
    os.chown(folder.keys / "operator.token", NOBODY, NOBODY)
    finding = failure("keys")
    assert "keys/operator.token do not belong to root" in finding.found
    assert finding.fix.startswith("chown -R root ")


def test_a_registry_that_others_may_read_is_a_failure(tmp_path):
    registry = Registry(tmp_path / "registry.json")
    registry.key()
    registry.enrol("ann")
    registry.key_path.chmod(0o644)

    (finding,) = check_keys_of(registry.path)
    assert (finding.state, finding.fix) == (State.FAILURE, f"chmod 600 {registry.key_path}")
    registry.key_path.chmod(0o600)
    (finding,) = check_keys_of(registry.path)
    assert finding.state is State.OK


def check_keys_of(registry):
    *found, elsewhere = check_keys(Target(registry=registry))
    assert elsewhere.state is State.UNKNOWN
    return found


def test_a_database_of_another_fleet_is_noticed(folder, failure, tmp_path):
    SteppedCoordinator(tmp_path / "other").close()
    other = CoordinatorFolder(tmp_path / "other")
    assert folder.database is not None
    assert other.database is not None
    folder.database.write_bytes(other.database.read_bytes())
    assert "follows command key" in failure("keys").found
