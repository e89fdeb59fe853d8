"""TLS certificates of servers: the authority that issues them, and what their clients would say of one.

An authority is a folder with `ca.pem`, which clients pin, and `ca.key`. A server's certificate can be renewed at any
time; who has pinned the authority does not notice.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import ssl
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from reram_fleet.crypto.key_store import read_private
from reram_fleet.processes.durable import write_atomically, write_folder_atomically

from fleet.errors import InvalidInputError

#: An authority is pinned by every node and client: it must outlive them.
AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
#: What a certificate's beginning is set back by: clocks of nodes may be a little behind.
CLOCK_SLACK = datetime.timedelta(hours=1)

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


class TlsError(InvalidInputError):
    """A certificate or its key cannot be used."""


@dataclass(frozen=True)
class ServerFiles:
    """Files of one server: its certificate, followed by that of its authority, and its private key."""

    certificate_path: Path
    key_path: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> ServerFiles:
        """Return the files of a server within a folder."""
        return cls(folder / f"{name}.pem", folder / f"{name}.key")

    @property
    def pair(self) -> tuple[Path, Path]:
        """Both, as `ssl` wants them."""
        return self.certificate_path, self.key_path

    def certificate(self) -> x509.Certificate:
        """Return the server's own certificate; raises `TlsError`."""
        return read_certificates(self.certificate_path)[0]


class Authority:
    """A certificate authority for servers: ECDSA P-256, and no authority below it."""

    FILES = ("ca.pem", "ca.key")

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate, self._key = certificate, key

    @classmethod
    def new(cls, name: str) -> Authority:
        """Make one that is in memory only."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key.public_key(), days=AUTHORITY_DAYS, path_length=0)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def create(cls, folder: Path, name: str) -> Authority:
        """Make one in a folder (0700) of its own.

        `TlsError` if the folder holds something, or cannot be made.
        """
        authority = cls.new(name)
        files = {"ca.pem": authority.pem, "ca.key": _pkcs8(authority._key)}
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_folder_atomically(folder, files)
        except OSError as error:
            raise TlsError(
                f"no authority can be made in {folder}: {error.strerror or error}",
                hint="take a folder that is not there yet: an authority is never written over",
            ) from error
        return authority

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """Return the one in a folder; `TlsError` or `KeyFileError` if it is none, or others can read its key."""
        certificate = read_certificates(folder / "ca.pem")[0]
        try:
            key = serialization.load_pem_private_key(read_private(folder / "ca.key"), password=None)
        except (ValueError, TypeError) as error:
            raise TlsError(f"{folder / 'ca.key'} holds no private key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise TlsError(f"{folder / 'ca.key'} is not the key of {folder / 'ca.pem'}")
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """Its certificate: what clients check servers with."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, files: ServerFiles, name: str, hosts: Iterable[str], *, days: int = SERVER_DAYS) -> None:
        """Write a key (0600) and a certificate for a server, in place of what is there.

        `InvalidInputError` if a host is neither a DNS name nor an IP address.
        """
        names = x509.SubjectAlternativeName([alternative_name(host) for host in hosts])
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self.certificate.subject, _name(name), key.public_key(), days=days, path_length=None)
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_atomically(files.key_path, _pkcs8(key))
        chain = certificate.public_bytes(serialization.Encoding.PEM) + self.pem
        write_atomically(files.certificate_path, chain, mode=0o644)

    def vouches_for(self, certificate: x509.Certificate) -> bool:
        """Whether it has issued a certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def read_certificates(path: Path) -> Sequence[x509.Certificate]:
    """Return the certificates in a PEM file; `TlsError` if there is none."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise TlsError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise TlsError(f"{path} holds no certificate in PEM: {error}") from error


def authority_in(path: Path) -> bytes:
    """Return the certificate (PEM) of the authority that ends a server's chain; `TlsError` if there is none in it."""
    last = read_certificates(path)[-1]
    if last.issuer != last.subject or not _is_authority(last):
        raise TlsError(
            f"{path} does not end with the certificate of its authority, which nodes and clients pin",
            hint="name that one with --tls-ca, or append it to the file",
        )
    return last.public_bytes(serialization.Encoding.PEM)


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found]


def check_server(files: ServerFiles, ca_pem: bytes, host: str) -> None:
    """Refuse a server's files if clients that reach it as `host`, and trust `ca_pem` alone, would.

    A handshake in memory says so, and the mode of the key: its user's alone, or root's and readable by a group.

    Raises
    ------
    TlsError
        With what is wrong: pair, name, end, authority, mode.
    """
    _check_key_mode(files.key_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A password is never asked for: nobody sits at a server's terminal.
        server.load_cert_chain(*files.pair, password="")
    except OSError as error:
        both = f"{files.certificate_path} and {files.key_path}"
        mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
        why = "the key is of another certificate" if mismatch else error.strerror or error
        raise TlsError(
            f"{both} cannot be served: {why}", hint="both are PEM files, the key without password"
        ) from error
    try:
        client = ssl.create_default_context(cadata=ca_pem.decode("ascii"))
        _shake_hands(server, client, host)
    except ssl.SSLCertVerificationError as error:
        certificate = files.certificate()
        raise TlsError(
            f"clients would refuse {files.certificate_path}: {error.verify_message}",
            hint=f"they reach it as {host}; it is for {', '.join(names_of(certificate)) or 'nobody'}, "
            f"until {certificate.not_valid_after_utc:%Y-%m-%d}",
        ) from error
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(f"{files.certificate_path} cannot be served, or its CA is no certificate: {error}") from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    # A flight from each side, and what both answer.
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


def _check_key_mode(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise TlsError(f"cannot read {path}: {error.strerror or error}") from error
    # Secrets that are mounted into a container, or handed over by systemd, are root's: a group reads them.
    own, roots = found.st_uid == os.geteuid(), found.st_uid == 0
    mode = stat.S_IMODE(found.st_mode)
    if not (own or roots) or mode & (0o077 if own else 0o037):
        raise TlsError(
            f"{path} belongs to user {found.st_uid} and has mode {mode:04o}: others can read the key, or change it",
            hint=f"chown it to the user that serves, and chmod 600 {path}; or root's, with mode 0640",
        )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def alternative_name(host: str) -> x509.GeneralName:
    """Return a host as certificates name it; `InvalidInputError` if it is neither a DNS name nor an IP address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _DNS_NAME.fullmatch(host) or len(host) > 253:
        raise InvalidInputError(f"{host!r} is neither a DNS name nor an IP address")
    return x509.DNSName(host)


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int, path_length: int | None
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
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signs, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
