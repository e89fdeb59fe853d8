"""The SuperLink's certificate: accepted by its own client, made once, and nobody can issue another."""

from __future__ import annotations

import stat
from pathlib import Path

from fleet.learning.certificates import LOOPBACK_HOSTS, SuperLinkCertificate, ensure_certificate
from fleet.trust.tls import check_server


def check(found: SuperLinkCertificate) -> None:
    for host in LOOPBACK_HOSTS:
        check_server(found.server, found.ca_path.read_bytes(), host)


def test_a_client_accepts_it(tmp_path: Path) -> None:
    check(ensure_certificate(tmp_path / "tls"))


def test_a_restart_keeps_it(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path / "tls").ca_path.read_bytes()

    assert ensure_certificate(tmp_path / "tls").ca_path.read_bytes() == first


def test_a_crash_while_issuing_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    ensure_certificate(tmp_path / "tls").ca_path.unlink()

    check(ensure_certificate(tmp_path / "tls"))


def test_only_the_owner_reads_its_key_and_the_authority_has_none(tmp_path: Path) -> None:
    found = ensure_certificate(tmp_path / "tls")

    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    keys = [path for path in (tmp_path / "tls").iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [found.server.key_path]
    assert stat.S_IMODE(found.server.key_path.stat().st_mode) == 0o600
