"""Hosts and addresses of this machine alone."""

from __future__ import annotations

import ipaddress

from reram_fleet.processes.unix_socket import is_unix


def is_loopback(host: str) -> bool:
    """Whether a host is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local(address: str) -> bool:
    """Whether a service at `host:port` or `unix:path` is reached from this machine only."""
    return is_unix(address) or is_loopback(address.rpartition(":")[0])
