"""Addresses of gRPC: whether they are of this machine alone."""

from __future__ import annotations

import ipaddress


def is_local(address: str) -> bool:
    """Whether `host:port` or `unix:path` is reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
