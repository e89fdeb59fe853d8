"""A throwaway certificate authority for the SuperLink and the proxy in front of it.

Flower authenticates nodes only over TLS. The authority's private key signs the two servers and is then dropped: it is
never written anywhere, so nobody can issue a third certificate. Nodes get the authority's certificate when they enrol;
it therefore stays the same for the life of the folder.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from reram_fleet.processes.durable import write_atomically

#: How long the certificates hold. Nodes carry the authority in their enrolment, so it must outlive them.
VALID_FOR = datetime.timedelta(days=3650)
#: What a certificate's notBefore is set back by: node clocks may be a little behind.
CLOCK_SLACK = datetime.timedelta(hours=1)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class ServerCertificate:
    """Files of one server."""

    certificate_path: Path
    key_path: Path


@dataclass(frozen=True)
class Certificates:
    """The authority's certificate and the two servers that it vouches for."""

    ca_path: Path
    superlink: ServerCertificate
    proxy: ServerCertificate

    @property
    def ca_pem(self) -> bytes:
        """Certificate of the authority, PEM: what nodes verify their SuperLink with."""
        return self.ca_path.read_bytes()


def ensure_certificates(folder: Path, hosts: Sequence[str] = LOOPBACK_HOSTS) -> Certificates:
    """Return the certificates in a folder (0700, keys 0600); make them if it has none yet.

    `hosts` are names and IP addresses under which nodes reach the proxy. The authority's certificate is written last,
    so a crash in between makes a new set.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificates = Certificates(
        ca_path=folder / "ca.pem",
        superlink=ServerCertificate(folder / "superlink.pem", folder / "superlink.key"),
        proxy=ServerCertificate(folder / "proxy.pem", folder / "proxy.key"),
    )
    if not certificates.ca_path.exists():
        _issue(certificates, hosts)
    return certificates


def _issue(certificates: Certificates, hosts: Sequence[str]) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _name("reram-fleet learning plane")
    builder = _builder(authority, authority, authority_key.public_key(), path_length=0)
    authority_pem = builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    names = x509.SubjectAlternativeName([_alternative_name(host) for host in hosts])
    vouched = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    for common_name, server in (("superlink", certificates.superlink), ("proxy", certificates.proxy)):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(authority, _name(common_name), key.public_key(), path_length=None)
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(vouched, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(server.key_path, pkcs8)
        write_atomically(server.certificate_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    write_atomically(certificates.ca_path, authority_pem, mode=0o644)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, path_length: int | None
) -> x509.CertificateBuilder:
    """Return what an authority's certificate and a server's have in common; a server's has no path length."""
    signs, now = path_length is not None, datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=signs, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
