"""Channels of gRPC: TLS over TCP, or a Unix socket in a folder that only its user enters. There is no third way."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from reram_fleet.errors import InvalidInputError
from reram_fleet.processes.unix_socket import is_unix, kernel_address, socket_address

#: Options of every channel: a proxy of the environment is for the web, and must not see what goes to a coordinator.
OPTIONS = (("grpc.enable_http_proxy", 0),)


def channel_credentials(address: str, ca_pem: bytes) -> grpc.ChannelCredentials:
    """Return what a channel to an address is opened with.

    Parameters
    ----------
    ca_pem
        Certificate of the authority that vouches for the server, PEM; a Unix socket needs none.

    Raises
    ------
    InvalidInputError
        If there is none for an address of TCP: the server could be anybody.
    """
    if is_unix(address):
        return grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    if not ca_pem:
        raise InvalidInputError(f"no CA certificate is known for {address}: whoever listens there could be anybody")
    return grpc.ssl_channel_credentials(ca_pem)


def open_channel(address: str, ca_pem: bytes, options: Sequence[tuple[str, object]] = ()) -> grpc.Channel:
    """Return a channel to a service at `host:port` or `unix:PATH`; raises as `channel_credentials`."""
    credentials, (target, folder) = channel_credentials(address, ca_pem), kernel_address(address)
    channel = grpc.secure_channel(target, credentials, options=channel_options(address, options))
    if folder is not None:
        # It connects again, by the same name, as long as it is there.
        weakref.finalize(channel, os.close, folder)
    return channel


def channel_options(address: str, options: Sequence[tuple[str, object]] = ()) -> list[tuple[str, object]]:
    """Return the options of a channel to an address."""
    # The path of a socket is no host name, and servers refuse it as one.
    authority = [("grpc.default_authority", "localhost")] if is_unix(address) else []
    return [*OPTIONS, *authority, *options]


def listen_on_socket(server: Any, path: Path) -> str:
    """Have a server of gRPC listen on a Unix socket; returns the address for its clients.

    Raises as `socket_address`; `RuntimeError` if the socket cannot be made.
    """
    address = socket_address(path)
    # A folder that is open for that stays so: the server's name for its socket begins there.
    target, _ = kernel_address(address)
    server.add_secure_port(target, grpc.local_server_credentials(grpc.LocalConnectionType.UDS))
    return address


def is_unvouched(error: grpc.RpcError) -> bool:
    """Whether a call failed since no certificate of the expected authority vouches for the server."""
    details = (error.details() or "") if isinstance(error, grpc.Call) else ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and any(
        said in details for said in ("handshake failed", "Verification Check failed")
    )
