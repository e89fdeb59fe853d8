from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from fleet.learning.certificates import Certificates, ServerCertificate, ensure_certificates


def handshake(client: ssl.SSLContext, server: ServerCertificate, name: str) -> str:
    """Shake hands in memory; return the protocol that was agreed on."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(server.certificate_path, server.key_path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server_context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return str(ends[0].version())


def strict_client(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca_path))
    # On by default since Python 3.13.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("server", ["superlink", "proxy"])
def test_a_strict_client_accepts_both_servers(tmp_path: Path, server: str, name: str) -> None:
    certificates = ensure_certificates(tmp_path / "tls")

    assert handshake(strict_client(certificates), getattr(certificates, server), name) == "TLSv1.3"


def test_a_client_of_another_fleet_refuses(tmp_path: Path) -> None:
    ours, other = ensure_certificates(tmp_path / "ours"), ensure_certificates(tmp_path / "other")

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(strict_client(other), ours.proxy, "localhost")


def test_a_name_that_is_not_in_the_certificate_is_refused(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "tls", hosts=["fleet.example"])

    assert handshake(strict_client(certificates), certificates.proxy, "fleet.example") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(strict_client(certificates), certificates.proxy, "127.0.0.1")


def test_a_restart_keeps_the_certificates_that_nodes_carry(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path / "tls").ca_pem

    assert ensure_certificates(tmp_path / "tls").ca_pem == first


def test_a_crash_while_issuing_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "tls")
    certificates.ca_path.unlink()

    again = ensure_certificates(tmp_path / "tls")

    assert handshake(strict_client(again), again.superlink, "localhost") == "TLSv1.3"


def test_only_the_owner_reads_keys_and_the_authority_has_none(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "tls")

    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    keys = sorted(path for path in (tmp_path / "tls").iterdir() if b"PRIVATE KEY" in path.read_bytes())
    assert keys == [certificates.proxy.key_path, certificates.superlink.key_path]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_a_server_certificate_cannot_sign_others(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "tls")

    for server in (certificates.superlink, certificates.proxy):
        certificate = x509.load_pem_x509_certificate(server.certificate_path.read_bytes())
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
