"""The TLS certificate of the embedded SuperLink, from an authority that is thrown away.

Flower authenticates nodes only over TLS. The authority's key signs this one server and is written nowhere: the
SuperLink, which is not trusted, cannot pass for the coordinator or the proxy, and nobody can issue a second one. Only
the coordinator and what it starts connect to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reram_fleet.processes.durable import write_atomically

from fleet.trust.tls import AUTHORITY_DAYS, Authority, ServerFiles

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class SuperLinkCertificate:
    """Files of the SuperLink, and the certificate of the authority that it is checked with."""

    ca_path: Path
    server: ServerFiles


def ensure_certificate(folder: Path) -> SuperLinkCertificate:
    """Return the certificate in a folder (0700, key 0600); make one if there is none yet.

    The authority's is written last, so a crash in between makes a new pair.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = SuperLinkCertificate(folder / "ca.pem", ServerFiles.of(folder, "superlink"))
    if not found.ca_path.exists():
        authority = Authority.new("reram-fleet learning plane")
        authority.issue(found.server, "superlink", LOOPBACK_HOSTS, days=AUTHORITY_DAYS)
        write_atomically(found.ca_path, authority.pem, mode=0o644)
    return found
