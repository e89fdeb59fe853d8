"""`fleet pki`: an authority, what it issues, and what it does not write over."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fleet.cli import app
from fleet.trust.tls import ServerFiles, check_server


@pytest.fixture
def pki(tmp_path: Path):
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["pki", *arguments])

    return run


def shown(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_server_is_issued_what_clients_of_its_authority_accept(pki, tmp_path):
    folder = tmp_path / "pki"
    authority = shown(pki("init", str(folder), "-o", "json"))
    assert authority["files"] == {"key": f"{folder}/ca.key", "certificate": f"{folder}/ca.pem"}
    found = shown(pki("issue", str(folder), "east", "--name", "fleet.example", "--name", "10.0.0.7", "-o", "json"))
    (server,) = found["certificates"]
    assert (server["names"], server["issuer"]) == (["fleet.example", "10.0.0.7"], "CN=reram-fleet")
    assert found["files"] == {"certificate": f"{folder}/east.pem", "key": f"{folder}/east.key"}
    assert stat.S_IMODE((folder / "east.key").stat().st_mode) == 0o600
    for host in server["names"]:
        check_server(ServerFiles.of(folder, "east"), (folder / "ca.pem").read_bytes(), host)


def test_what_to_give_where_is_said(pki, tmp_path):
    folder = tmp_path / "pki"
    assert f"{folder}/ca.pem is for all who connect" in pki("init", str(folder)).stderr
    said = " ".join(pki("issue", str(folder), "fleet.example").stderr.split())
    assert f"--advertise fleet.example --tls-cert {folder}/fleet.example.pem" in said
    assert f"--tls-key {folder}/fleet.example.key" in said


def test_a_file_is_shown_with_every_certificate_in_it(pki, tmp_path):
    pki("init", str(tmp_path / "pki"))
    pki("issue", str(tmp_path / "pki"), "east", "--name", "fleet.example", "--days", "90")
    server, authority = shown(pki("show", str(tmp_path / "pki" / "east.pem"), "-o", "json"))["certificates"]
    assert (server["names"], authority["names"]) == (["fleet.example"], [])
    assert (server["not_after_unix_ms"] - server["not_before_unix_ms"]) // 86_400_000 == 90
    assert server["fingerprint"] != authority["fingerprint"]
    text = pki("show", str(tmp_path / "pki" / "east.pem")).stdout
    assert "fleet.example" in text
    assert authority["fingerprint"] in text


def test_nothing_is_written_over(pki, tmp_path):
    folder = tmp_path / "pki"
    pki("init", str(folder))
    pki("issue", str(folder), "east")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert pki("init", str(folder)).exit_code == 2
    assert pki("issue", str(folder), "east").exit_code == 4
    (folder / "east.pem").unlink()
    assert pki("issue", str(folder), "east").exit_code == 4
    del before["east.pem"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["ca", "../east", "a/b", "", ".east"])
def test_a_name_that_is_no_file_of_its_own_is_refused(pki, tmp_path, name):
    pki("init", str(tmp_path / "pki"))
    before = sorted(tmp_path.rglob("*"))
    assert pki("issue", str(tmp_path / "pki"), name, "--name", "localhost").exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_host_that_is_none_and_a_folder_without_an_authority_are_named(pki, tmp_path):
    pki("init", str(tmp_path / "pki"))
    wrong = pki("issue", str(tmp_path / "pki"), "east", "--name", "http://x")
    assert (wrong.exit_code, "neither a DNS name nor an IP address" in wrong.stderr) == (2, True)
    none = pki("issue", str(tmp_path / "absent"), "east")
    assert (none.exit_code, f"{tmp_path}/absent/ca.pem" in none.stderr) == (2, True)
    assert not (tmp_path / "absent").exists()


def test_an_authority_that_others_can_use_is_refused(pki, tmp_path):
    pki("init", str(tmp_path / "pki"))
    (tmp_path / "pki" / "ca.key").chmod(0o644)
    refused = pki("issue", str(tmp_path / "pki"), "east")
    assert refused.exit_code == 1
    assert "chmod 600" in refused.stderr
