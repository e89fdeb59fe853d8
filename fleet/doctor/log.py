"""Log: every entry signed and chained to the one before, every leaf under the root, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.crypto.signing import SignatureError, open_envelope, payload_hash
from reram_fleet.v1.types_pb2 import Envelope, ForgetCommand

from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target
from fleet.store.database import Transaction
from fleet.store.rows import FleetRow, LogRow
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import MemoryTree, Subtree, leaf_hash

AREA = Area("log")
#: Hashes that are asked for by one statement.
_AT_ONCE = 10_000
_FIX = "nothing may go on from it: end the coordinator, and restore the last backup (docs/operations/restore.md)"


def check_log(target: Target) -> Iterator[Finding]:
    """Check the forget log and the Merkle log as an auditor would who has all of both."""
    if target.folder is None:
        yield AREA.unknown("it is in the database, which is not known on this machine")
        return
    with target.rows() as tx:
        fleet = tx.fleet.find()
        if fleet is None:
            yield AREA.unknown("the database holds no fleet yet")
            return
        yield from _chain(fleet, tx.log.range(0))
        yield from _tree(target, tx)


def _chain(fleet: FleetRow, rows: Sequence[LogRow]) -> Iterator[Finding]:
    head = ZERO_HASH
    for number, row in enumerate(rows, 1):
        try:
            envelope = Envelope.FromString(row.envelope)
            command = open_envelope(envelope, ForgetCommand, fleet.command_public_key or b"")
        except (SignatureError, ValueError) as error:
            yield AREA.failure(f"entry {row.generation} is not what the coordinator signed: {error}", _FIX)
            return
        if (command.fleet_id, command.generation, row.generation) != (fleet.fleet_id, number, number):
            found = f"generation {command.generation} of {command.fleet_id}"
            yield AREA.failure(f"entry {row.generation} is {found}, expected {number} of {fleet.fleet_id}", _FIX)
            return
        if command.previous_hash != head:
            yield AREA.failure(
                f"entry {number} follows {command.previous_hash.hex()[:16]}, and the one before is {head.hex()[:16]}",
                _FIX,
            )
            return
        head = payload_hash(envelope)
    if (fleet.generation, fleet.log_head) != (len(rows), head):
        yield AREA.failure(
            f"the fleet is at generation {fleet.generation} with head {fleet.log_head.hex()[:16]}, but its log ends at "
            f"{len(rows)} with {head.hex()[:16]}",
            _FIX,
        )
        return
    yield AREA.ok(f"entries in the forget log: {len(rows)}, each signed and chained to the one before")


def _tree(target: Target, tx: Transaction) -> Iterator[Finding]:
    leaves: list[bytes] = []
    for leaf in tx.tree.leaves():
        if leaf.leaf_index != len(leaves):
            yield AREA.failure(f"leaf {len(leaves)} of the Merkle log is missing", _FIX)
            return
        if leaf_hash(leaf.data) != leaf.hash:
            yield AREA.failure(f"leaf {leaf.leaf_index} of the Merkle log has another hash than its data", _FIX)
            return
        leaves.append(leaf.hash)
    tree = MemoryTree(leaves)
    for subtrees in _inner(len(leaves)):
        kept = tx.tree.subtree_hashes(subtrees)
        for subtree, expected in tree.subtree_hashes(subtrees).items():
            if (found := kept.get(subtree, b"")) != expected:
                yield AREA.failure(
                    f"over the leaves of the Merkle log from {subtree.place << subtree.level} on, "
                    f"{found.hex()[:16] or 'nothing'} is kept at level {subtree.level}, expected {expected.hex()[:16]}",
                    _FIX,
                )
                return
    there = set(leaves)
    for row in tx.log.range(0):
        if leaf_hash(leaf_data(LeafKind.FORGET_COMMAND, Envelope.FromString(row.envelope))) not in there:
            yield AREA.failure(f"the forget of generation {row.generation} is not in the Merkle log", _FIX)
            return
    said = target.answer and target.answer.fleet
    if said and not _extends(tree, said.log_size, said.log_root):
        yield AREA.failure(
            f"the coordinator says {said.log_size} leaves with root {said.log_root.hex()[:16]}, which is not in its "
            "database",
            _FIX,
        )
        return
    root = tx.tree.root().hex()[:16]
    yield AREA.ok(f"leaves of the Merkle log: {len(leaves)}, under root {root}")


def _inner(size: int) -> Iterator[list[Subtree]]:
    """Yield the complete subtrees of a tree that are no leaves, some at a time."""
    for level in range(1, size.bit_length()):
        for start in range(0, size >> level, _AT_ONCE):
            yield [Subtree(level, place) for place in range(start, min(start + _AT_ONCE, size >> level))]


def _extends(tree: MemoryTree, size: int, root: bytes) -> bool:
    """Whether a tree that was answered a moment before is the beginning of this one."""
    return size <= tree.size() and (not size or tree.root(size) == root)
