"""`fleet serve` with settings that are refused before anything is made."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fleet.cli import app


@pytest.fixture
def refused(tmp_path):
    """Give `fleet serve` settings that mean nothing; returns what it says of them."""

    def serve(*options: str) -> str:
        state = tmp_path / "state"
        done = CliRunner().invoke(app, ["serve", "--no-flower", "--state", str(state), *options])
        assert done.exit_code == 2
        assert not state.exists()
        return done.stderr

    return serve


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_an_address_that_others_reach_is_refused(refused, host):
    assert "--tls-in-front" in refused("--host", host)


@pytest.mark.parametrize("address", ["postgresql://u:hunter2@h/d", "postgresql://h/d?password=hunter2"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(refused, address):
    said = refused("--database", address)
    assert "PGPASSFILE" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("lease", ["nan", "inf", "0", "-1", "1e300"])
def test_a_lease_that_no_node_can_keep_is_refused(refused, lease):
    assert "lease" in refused("--lease-seconds", lease)
