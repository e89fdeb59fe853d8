"""The set of nodes that a forget is committed for, as one root in the signed command."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.trust.merkle import leaf_hash, root_hash


def nodes_root(node_ids: Iterable[str]) -> bytes:
    """Return the RFC 6962 root (32 bytes) over node ids in order, whatever order they come in."""
    return root_hash([leaf_hash(node_id.encode()) for node_id in sorted(node_ids)])
