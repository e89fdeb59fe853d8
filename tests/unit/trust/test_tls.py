"""TLS certificates of servers: what clients accept, what is refused before a server starts, and who reads keys."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fleet.errors import InvalidInputError, KeyFileError
from fleet.trust.tls import Authority, ServerFiles, TlsError, authority_in, check_server, names_of, read_certificates
from tests.tls import issued


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "fleet.example"])
def test_a_client_accepts_every_name_of_a_certificate(tmp_path: Path, host: str) -> None:
    files, authority = issued(tmp_path, ["127.0.0.1", "::1", "localhost", "fleet.example"])

    check_server(files, authority.pem, host)
    assert host in names_of(files.certificate())


def test_a_name_that_is_not_in_the_certificate_is_refused(tmp_path: Path) -> None:
    files, authority = issued(tmp_path, ["fleet.example"])

    with pytest.raises(TlsError, match=r"127\.0\.0\.1") as refused:
        check_server(files, authority.pem, "127.0.0.1")
    assert "fleet.example" in refused.value.hint


def test_a_client_of_another_authority_refuses(tmp_path: Path) -> None:
    files, _ = issued(tmp_path)

    with pytest.raises(TlsError, match="self-signed certificate in certificate chain"):
        check_server(files, Authority.new("another").pem, "localhost")


def test_a_certificate_that_has_ended_is_refused(tmp_path: Path) -> None:
    authority, files = Authority.new("tests"), ServerFiles.of(tmp_path, "server")
    authority.issue(files, "tests", ["localhost"], days=0)

    with pytest.raises(TlsError, match="expired"):
        check_server(files, authority.pem, "localhost")


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    files, authority = issued(tmp_path)
    certificate = files.certificate_path.read_bytes()
    authority.issue(files, "tests", ["localhost"])
    files.certificate_path.write_bytes(certificate)

    with pytest.raises(TlsError, match="the key is of another certificate"):
        check_server(files, authority.pem, "localhost")


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\x00\xff"])
def test_what_is_no_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    files, authority = issued(tmp_path)
    files.certificate_path.write_bytes(content)

    with pytest.raises(TlsError, match=r"server\.pem"):
        check_server(files, authority.pem, "localhost")
    with pytest.raises(TlsError, match=r"server\.pem"):
        read_certificates(files.certificate_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    files, authority = issued(tmp_path)
    files.key_path.chmod(mode)

    with pytest.raises(TlsError, match=f"mode {mode:04o}"):
        check_server(files, authority.pem, "localhost")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user, which root alone can")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    files, authority = issued(tmp_path)
    os.chown(files.key_path, 65534, 65534)

    with pytest.raises(TlsError, match="belongs to user 65534"):
        check_server(files, authority.pem, "localhost")


def test_the_authority_is_the_last_of_a_chain(tmp_path: Path) -> None:
    files, authority = issued(tmp_path)

    assert authority_in(files.certificate_path) == authority.pem
    files.certificate_path.write_bytes(files.certificate().public_bytes(Encoding.PEM))
    with pytest.raises(TlsError, match="does not end with the certificate of its authority"):
        authority_in(files.certificate_path)


def test_an_authority_lives_in_a_folder_of_its_own_and_is_never_written_over(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "pki", "tests")

    assert Authority.load(tmp_path / "pki").pem == made.pem
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "pki" / "ca.key").stat().st_mode) == 0o600
    with pytest.raises(TlsError, match="no authority can be made"):
        Authority.create(tmp_path / "pki", "tests")
    assert Authority.load(tmp_path / "pki").pem == made.pem


def test_an_authority_whose_key_others_read_or_is_not_its_own_is_refused(tmp_path: Path) -> None:
    Authority.create(tmp_path / "one", "tests")
    Authority.create(tmp_path / "two", "tests")
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(TlsError, match="not the key of"):
        Authority.load(tmp_path / "one")
    (tmp_path / "one" / "ca.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="0644"):
        Authority.load(tmp_path / "one")


def test_an_authority_holds_ten_years_and_what_it_issues_one_and_signs_nothing(tmp_path: Path) -> None:
    files, authority = issued(tmp_path)
    server = files.certificate()

    def days(certificate: x509.Certificate) -> float:
        left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        return round(left / datetime.timedelta(days=1))

    assert (days(authority.certificate), days(server)) == (3650, 365)
    assert authority.vouches_for(server)
    assert not Authority.new("tests").vouches_for(server)
    both = (each.extensions.get_extension_for_class(x509.BasicConstraints) for each in (authority.certificate, server))
    assert [(found.value.ca, found.value.path_length) for found in both] == [(True, 0), (False, None)]


@pytest.mark.parametrize("host", ["", "a b", "http://x", "-a", "a..b", "1.2.3.4:5", "x" * 64])
def test_a_host_that_is_none_is_refused_and_nothing_is_written(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidInputError, match="neither a DNS name nor an IP address"):
        issued(tmp_path, [host])
    assert not list(tmp_path.iterdir())
