"""Folder that a coordinator shares with the ServerApps of an attached SuperLink."""

from __future__ import annotations

import pytest
from reram_fleet.crypto import bearer

from fleet.config import ConfigError, ServeSettings
from fleet.coordinator.core import LearningPlane
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.shared_folder import SharedFolder
from fleet.coordinator.tls import ServerTls
from fleet.trust.tls import Authority

CA_PEM = Authority.new("test").pem


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "learning.token").write_text(bearer.new_token())
    (tmp_path / "learning.token").chmod(0o640)
    (tmp_path / "ca.pem").write_bytes(CA_PEM)
    return tmp_path


def test_the_token_is_read_where_a_group_may_read_it_too(folder):
    token = (folder / "learning.token").read_text()

    assert SharedFolder(folder).read_token(CA_PEM) == token


def test_a_token_that_everybody_may_read_is_refused(folder):
    (folder / "learning.token").chmod(0o644)

    with pytest.raises(ConfigError, match="everybody may read it"):
        SharedFolder(folder).read_token(CA_PEM)


@pytest.mark.parametrize("name", ["learning.token", "ca.pem"])
def test_a_file_that_is_missing_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(ConfigError, match=name):
        SharedFolder(folder).read_token(CA_PEM)


def test_another_authority_than_the_coordinators_is_refused(folder):
    with pytest.raises(ConfigError, match="does not vouch"):
        SharedFolder(folder).read_token(Authority.new("other").pem)


def test_a_short_token_is_refused(folder):
    (folder / "learning.token").write_text("short")

    with pytest.raises(ConfigError, match="opens nothing"):
        SharedFolder(folder).read_token(CA_PEM)


@pytest.mark.parametrize("name", ["learning_folder", "learning_address"])
def test_without_an_attached_superlink_there_is_nothing_to_share(folder, name):
    with pytest.raises(ConfigError, match="flower_attach"):
        ServeSettings(state=folder, **{name: folder})


def test_server_apps_of_an_attached_superlink_are_told_the_shared_files_and_no_others(folder, tmp_path):
    settings = ServeSettings(
        state=tmp_path / "state",
        flower_attach="127.0.0.1:1",
        flower_ca=folder / "ca.pem",
        learning_folder=folder,
        learning_address="localhost:9800",
    )
    own = CoordinatorFolder(settings.state)

    plane = LearningPlane.open(settings, ServerTls.open(settings, own), own.learning_token)

    assert plane.token_path == folder / "learning.token"
    assert plane.ca_path == folder / "ca.pem"
    assert plane.address == "localhost:9800"
