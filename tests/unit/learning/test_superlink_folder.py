from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest
from reram_fleet.processes.supervised import ChildState

from fleet.learning import fab
from fleet.learning.errors import LearningPlaneError, SuperLinkNotReadyError
from fleet.learning.server_app import client_of
from fleet.learning.superlink import SuperLink, canonical_key


def test_the_folder_names_the_connection_for_the_flwr_command(tmp_path: Path) -> None:
    superlink = SuperLink.embedded(tmp_path)

    config = tomllib.loads((tmp_path / "flower/home/config.toml").read_text())["superlink"]

    assert config["default"] == "fleet"
    assert config["fleet"] == {
        "address": superlink.control_address,
        "root-certificates": str(tmp_path / "flower/tls/ca.pem"),
    }
    assert stat.S_IMODE((tmp_path / "flower").stat().st_mode) == 0o700


def test_addresses_and_authority_stay_the_same_over_a_restart(tmp_path: Path) -> None:
    first, second = SuperLink.embedded(tmp_path), SuperLink.embedded(tmp_path)

    assert first.control_address == second.control_address
    assert first.tls_context().get_ca_certs() == second.tls_context().get_ca_certs()


def test_an_attached_superlink_is_not_ours_to_start(tmp_path: Path) -> None:
    ca_path = SuperLink.embedded(tmp_path / "other").folder / "tls" / "ca.pem"

    superlink = SuperLink.attached(tmp_path / "ours", "127.0.0.1:1", ca_path)
    superlink.start()
    superlink.stop()

    config = tomllib.loads((tmp_path / "ours/flower/home/config.toml").read_text())["superlink"]
    assert config["fleet"] == {"address": "127.0.0.1:1", "root-certificates": str(ca_path)}
    assert (superlink.state, superlink.incarnation, superlink.process_id) == (ChildState.RUNNING, 0, None)


def test_a_superlink_that_never_answers_is_a_clear_error(tmp_path: Path) -> None:
    superlink = SuperLink.embedded(tmp_path)

    with pytest.raises(SuperLinkNotReadyError, match=r"did not answer within 0 s .*superlink\.log"):
        superlink.wait_ready(timeout_s=0.0)


def test_a_key_is_the_same_key_whatever_its_comment() -> None:
    assert canonical_key("ecdsa-sha2-nistp384 AAAA edge-1\n") == canonical_key("ecdsa-sha2-nistp384  AAAA")


def test_the_app_declares_what_a_job_sets_and_holds_no_code(tmp_path: Path) -> None:
    folder = fab.write_app(tmp_path / "app")

    app = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert set(app["config"]) == {fab.JOB_ID, fab.ATTEMPT, fab.COORDINATOR, fab.CA_FILE, fab.TOKEN_FILE}
    assert app["components"] == {"serverapp": fab.SERVER_APP, "clientapp": fab.CLIENT_APP}
    assert [path.name for path in folder.iterdir()] == ["pyproject.toml"]


def test_a_run_that_was_not_started_for_a_job_says_so(tmp_path: Path) -> None:
    class Context:
        run_config = tomllib.loads((fab.write_app(tmp_path) / "pyproject.toml").read_text())["tool"]["flwr"]["app"][
            "config"
        ]

    with pytest.raises(LearningPlaneError, match="fleet learn start"):
        client_of(Context())  # type: ignore[arg-type]
