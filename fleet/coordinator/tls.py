"""TLS of a coordinator: the certificate that its ports show, made by itself or given, and renewed while it serves."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass
from pathlib import Path

import grpc
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.unix_socket import LONGEST_PATH, is_too_long

from fleet.config import ServeSettings
from fleet.coordinator.folder import CoordinatorFolder
from fleet.domain.addresses import WILDCARDS
from fleet.errors import InvalidInputError
from fleet.trust.tls import (
    Authority,
    ServerFiles,
    TlsError,
    alternative_name,
    authority_in,
    check_server,
    names_of,
    read_certificates,
)

logger = logging.getLogger(__name__)

#: A certificate of our own is for these, and for what clients call this coordinator.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
#: And is made anew when less than this part of its time is left.
_LEAST_LEFT = 1 / 3


@dataclass(frozen=True)
class Endpoint:
    """Addresses of the coordinator's gRPC services, and what vouches for them."""

    #: For clients on this machine, and what Flower starts.
    address: str = ""
    #: File of the CA certificate that vouches for that; None for a Unix socket.
    ca_path: Path | None = None
    #: For nodes, with their CA certificate (PEM); empty for a Unix socket.
    node_address: str = ""
    node_ca_pem: bytes = b""


class ServerTls:
    """Files of the certificate, and what ports are opened with.

    Parameters
    ----------
    files, ca_pem
        The certificate with its key, and the authority that clients check it with.
    host
        What clients call this coordinator.
    authority
        The coordinator's own, which renews the certificate; None if somebody else does.
    """

    def __init__(self, files: ServerFiles, ca_pem: bytes, host: str, authority: Authority | None) -> None:
        self.files, self.ca_pem = files, ca_pem
        self._host, self._authority = host, authority
        self._seen = self._stamp()

    @classmethod
    def open(cls, settings: ServeSettings, folder: CoordinatorFolder) -> ServerTls:
        """Return what the settings give, or what this coordinator made itself, made now if it is due.

        `TlsError` or `KeyFileError` if clients would refuse it.
        """
        host = called(settings)
        if (given := _given(settings)) is not None:
            return cls(*given, host, None)
        path = folder.tls
        authority = Authority.load(path) if path.exists() else Authority.create(path, "reram-fleet coordinator")
        own = cls(ServerFiles.of(path, "server"), authority.pem, host, authority)
        own.renew()
        return own

    def renew(self) -> None:
        """Make a new certificate of our own if its end is near, or clients call us by another name.

        `TlsError` if clients would refuse the one that is there then, whoever has made it.
        """
        if self._authority is not None and self._is_due(self._authority):
            self._authority.issue(self.files, "reram-fleet coordinator", self._hosts())
            logger.info("made a TLS certificate for %s", ", ".join(self._hosts()))
        check_server(self.files, self.ca_pem, self._host)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port of gRPC is opened with: each new connection sees the certificate of its day."""
        self._seen = self._stamp()
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._changed)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        # Said once, whatever is wrong: the one in use stays.
        self._seen = stamp
        try:
            check_server(self.files, self.ca_pem, self._host)
            changed = self._configuration()
        except (TlsError, OSError) as error:
            logger.warning("the TLS certificate has changed, and is not taken up: %s", error)
            return None
        logger.info("took up the TLS certificate in %s", self.files.certificate_path)
        return changed

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self.files.key_path.read_bytes(), self.files.certificate_path.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair])

    def _stamp(self) -> tuple[object, ...]:
        try:
            found = [path.stat() for path in (self.files.certificate_path, self.files.key_path)]
        except OSError:
            return ()
        return tuple((stat.st_ino, stat.st_mtime_ns) for stat in found)

    def _hosts(self) -> list[str]:
        return list(dict.fromkeys((*LOCAL_HOSTS, self._host)))

    def _is_due(self, authority: Authority) -> bool:
        try:
            check_server(self.files, authority.pem, self._host)
            certificate = self.files.certificate()
        except TlsError:
            return True
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        left = ends - datetime.datetime.now(datetime.UTC)
        return left < _LEAST_LEFT * (ends - begins) or not set(self._hosts()) <= set(names_of(certificate))


def check(settings: ServeSettings) -> None:
    """Refuse certificates, names and sockets that clients would refuse; nothing is made.

    `TlsError` or `InvalidInputError` with what is wrong.
    """
    alternative_name(called(settings))
    if settings.socket is not None and is_too_long(settings.socket):
        raise InvalidInputError(
            f"{settings.socket} has over {LONGEST_PATH} bytes: no program can connect to such a socket by its name"
        )
    if settings.socket is not None and settings.tls_ca is not None:
        read_certificates(settings.tls_ca)
    if (given := _given(settings)) is not None:
        check_server(*given, called(settings))


def called(settings: ServeSettings) -> str:
    """Return the name or address that clients have a coordinator's certificate checked for."""
    if settings.socket is None and settings.advertised is not None:
        return settings.advertised.host
    return "localhost" if settings.bound_host in WILDCARDS else settings.bound_host


def publish_ca(folder: CoordinatorFolder, ca_pem: bytes) -> Path:
    """Write the CA certificate for clients of this machine; returns its file."""
    write_atomically(folder.ca, ca_pem)
    return folder.ca


def _given(settings: ServeSettings) -> tuple[ServerFiles, bytes] | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    files = ServerFiles(settings.tls_cert, settings.tls_key)
    if settings.tls_ca is None:
        return files, authority_in(settings.tls_cert)
    read_certificates(settings.tls_ca)
    return files, settings.tls_ca.read_bytes()
