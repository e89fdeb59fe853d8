"""Certificates: what the coordinator shows to its clients, and what lies in its folder to be shown."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from reram_fleet.processes.unix_socket import UNIX, is_unix

from fleet.doctor.findings import Area, Finding, some
from fleet.doctor.target import Target, stands_still
from fleet.errors import FleetError
from fleet.trust.tls import ServerFiles, check_server, names_of, read_certificates

AREA = Area("certificates")
_TIMEOUT_S = 5.0
#: What the coordinator makes itself it renews long before.
_SOON_DAYS = 30
#: Every node has pinned the authority: another one reaches them by hand only.
_AUTHORITY_SOON_DAYS = 365
_GIVEN = "fleet pki issue, or whoever issued it; then fleet serve --tls-cert FILE --tls-key FILE"


def check_certificates(target: Target) -> Iterator[Finding]:
    """Do what a client does at the coordinator's port, and hold the files against each other."""
    runs = target.served is None or target.process is not None
    if target.address is None or not runs:
        yield AREA.unknown("what the coordinator shows: none runs, or none is named")
    elif is_unix(target.address):
        yield _unix(Path(target.address.removeprefix(UNIX)))
    elif target.process is not None and stands_still(target.process):
        yield AREA.unknown("what the coordinator shows: it stands still")
    elif target.stranger:
        yield AREA.unknown(f"what the coordinator shows: {target.stranger} has its address")
    else:
        yield from _shown(target.address, target.ca_file)
    if target.folder is not None:
        host = (target.address or "localhost").rpartition(":")[0].strip("[]") or "localhost"
        yield from _files(target.folder.tls, "server", host)
        yield from _files(target.folder.root / "flower" / "tls", "superlink", "127.0.0.1")


def _shown(address: str, ca_file: Path | None) -> Iterator[Finding]:
    if ca_file is None:
        yield AREA.failure(
            f"no CA certificate is known for {address}: anybody could be there", "--ca FILE, or FLEET_CA"
        )
        return
    host, _, port = address.rpartition(":")
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=host.strip("[]")) as connection,
        ):
            shown = connection.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        yield AREA.failure(f"clients refuse what {address} shows: {error.verify_message}", _GIVEN)
        return
    except OSError as error:
        yield AREA.unknown(f"what {address} shows: {error}")
        return
    assert shown is not None, "a server that was verified has shown one"
    yield _ends(f"shown at {address}", x509.load_der_x509_certificate(shown), _SOON_DAYS, _GIVEN)
    for authority in read_certificates(ca_file)[:1]:
        yield _ends(
            f"{ca_file}, which nodes and clients pin,",
            authority,
            _AUTHORITY_SOON_DAYS,
            "enrol every node anew with another authority before then",
        )


def _files(folder: Path, name: str, host: str) -> Iterator[Finding]:
    files, ca = ServerFiles.of(folder, name), folder / "ca.pem"
    if not files.certificate_path.exists() or not ca.exists():
        return
    if (owner := files.key_path.stat().st_uid) not in (os.geteuid(), 0):
        yield AREA.unknown(
            f"{files.key_path} is user {owner}'s: whether they may serve it, they see", "sudo -u USER fleet doctor"
        )
        return
    try:
        check_server(files, ca.read_bytes(), host)
        yield _ends(
            str(files.certificate_path), files.certificate(), _SOON_DAYS, "a start of the coordinator renews it"
        )
    except FleetError as error:
        yield AREA.failure(str(error), error.hint)


def _ends(what: str, certificate: x509.Certificate, soon_days: int, fix: str) -> Finding:
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    names = some(names_of(certificate))
    said = f"{what} ends in {left.days:,} days" + (f", for {names}" if names else "")
    if left < datetime.timedelta():
        return AREA.failure(f"{what} has ended", fix)
    return AREA.warning(said, fix) if left.days < soon_days else AREA.ok(said)


def _unix(path: Path) -> Finding:
    folder = path.parent.stat()
    mode = stat.S_IMODE(folder.st_mode)
    if mode & 0o077:
        return AREA.failure(
            f"others enter {path.parent} (mode {mode:04o}), where its socket is", f"chmod 700 {path.parent}"
        )
    return AREA.ok(f"{path} is a Unix socket in a folder that only its user enters: it needs none")
