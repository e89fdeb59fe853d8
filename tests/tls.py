"""TLS of servers that tests run on this machine: one authority, and one certificate, for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from fleet.trust.tls import Authority, ServerFiles


@dataclass(frozen=True)
class LocalTls:
    """Authority, and what a server on 127.0.0.1 shows."""

    ca_pem: bytes
    key_pem: bytes
    certificate_pem: bytes

    def listen(self, server: grpc.Server, port: int = 0) -> str:
        """Have a server of gRPC listen; returns its address."""
        credentials = grpc.ssl_server_credentials([(self.key_pem, self.certificate_pem)])
        return f"127.0.0.1:{server.add_secure_port(f'127.0.0.1:{port}', credentials)}"

    def ca_file(self, folder: Path) -> Path:
        """Write the authority's certificate into a folder."""
        path = folder / "ca.pem"
        path.write_bytes(self.ca_pem)
        return path


@cache
def local_tls() -> LocalTls:
    """Return what all of this process's servers use."""
    with TemporaryDirectory() as folder:
        files, authority = issued(Path(folder))
        return LocalTls(authority.pem, files.key_path.read_bytes(), files.certificate_path.read_bytes())


def issued(folder: Path, hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> tuple[ServerFiles, Authority]:
    """Make an authority and a server's certificate in a folder."""
    authority, files = Authority.new("tests"), ServerFiles.of(folder, "server")
    authority.issue(files, "tests", hosts)
    return files, authority
