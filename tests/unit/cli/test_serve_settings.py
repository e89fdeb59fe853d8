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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]"])
def test_all_addresses_of_a_machine_are_none_that_nodes_reach(refused, host):
    assert "--advertise" in refused("--host", host)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", ""], "the host is empty"),
        (["--host", "a b"], "neither a DNS name nor an IP address"),
        (["--advertise", "http://x"], "is not HOST"),
        (["--advertise", "x:99999"], "is not HOST"),
        (["--tls-cert", "a.pem"], "go together"),
        (["--tls-ca", "a.pem"], "tls_cert, which is not given"),
        (["--tls-cert", "a.pem", "--tls-key", "a.key"], "cannot read a.pem"),
        (["--host", "unix:/run/x.sock", "--tls-cert", "a.pem", "--tls-key", "a.key"], "has no TLS"),
        (["--host", "unix:/run/x.sock", "--advertise", "x:1"], "--tls-ca"),
        (["--host", f"unix:/run/{'x' * 107}"], "over 107 bytes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_addresses_and_certificates_that_cannot_be_served_are_refused(refused, options, said):
    assert said in refused(*options)


@pytest.mark.parametrize("address", ["postgresql://u:hunter2@h/d", "postgresql://h/d?password=hunter2"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(refused, address):
    said = refused("--database", address)
    assert "PGPASSFILE" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("lease", ["nan", "inf", "0", "-1", "1e300"])
def test_a_lease_that_no_node_can_keep_is_refused(refused, lease):
    assert "lease" in refused("--lease-seconds", lease)
