"""Check of a range of the forget log against what a node already holds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reram_fleet.crypto import signing
from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.crypto.identifiers import is_subject_tag
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.v1.types_pb2 import Envelope, ForgetCommand
from reram_fleet.wire.concepts import concept_tag

from edge_node.errors import LogRejectedError
from edge_node.storage.journal_schema import Position


def check_end(generation: int, log_head: bytes, *, position: Position, known_hash: Callable[[int], bytes]) -> None:
    """Refuse an end of the coordinator's log that is not on this node's: `LogRejectedError`.

    Parameters are those of `new_entries`; an end that the node has not reached says nothing.
    """
    if generation > position.generation:
        return
    if log_head != (known_hash(generation) if generation else ZERO_HASH):
        raise LogRejectedError(f"the coordinator signed two different entries for generation {generation}")


@dataclass(frozen=True)
class LogEntry:
    """One verified entry: the command, its envelope and the hash of its payload (32 bytes)."""

    command: ForgetCommand
    envelope: Envelope
    payload_hash: bytes


def new_entries(
    envelopes: Iterable[Envelope],
    *,
    enrollment: EnrollNodeResponse,
    position: Position,
    known_hash: Callable[[int], bytes],
) -> list[LogEntry]:
    """Return the entries of a range that extend the log, in order; those held already are checked, skipped.

    Parameters
    ----------
    enrollment
        Fleet and command key.
    position
        Generation of the last entry that the node holds, and the hash of its payload.
    known_hash
        Payload hash of an entry that the node holds (1 to that generation).

    Raises
    ------
    LogRejectedError
        On a signature that does not hold, another fleet, a gap, a broken chain, an entry that contradicts one already
        held, or a malformed tag. Nothing of the range may be used then.
    """
    held, entries = position.generation, list[LogEntry]()
    generation, log_head = position.generation, position.log_head
    for envelope in envelopes:
        try:
            command = signing.open_envelope(envelope, ForgetCommand, enrollment.command_public_key)
        except signing.SignatureError as error:
            raise LogRejectedError(f"a forget log entry does not verify: {error}") from error
        if command.fleet_id != enrollment.fleet_id:
            raise LogRejectedError(f"a forget log entry is of fleet {command.fleet_id!r}, not {enrollment.fleet_id!r}")
        payload_hash, number = signing.payload_hash(envelope), command.generation
        if 1 <= number <= generation:
            present = known_hash(number) if number <= held else entries[number - held - 1].payload_hash
            if present != payload_hash:
                raise LogRejectedError(f"the coordinator signed two different entries for generation {number}")
            continue
        if number != generation + 1:
            raise LogRejectedError(f"gap in the forget log: expected {generation + 1}, got {number}")
        if command.previous_hash != log_head:
            raise LogRejectedError(
                f"entry {number} follows {command.previous_hash.hex()[:12]}, "
                f"but entry {generation} is {log_head.hex()[:12]}"
            )
        if malformed := [tag for tag in command.subject_tags if not is_subject_tag(tag)]:
            raise LogRejectedError(f"entry {number} names {len(malformed)} malformed subject tags")
        if not {concept_tag(name) for name in command.concepts} <= set(command.subject_tags):
            raise LogRejectedError(f"entry {number} names a concept without its tag")
        entries.append(LogEntry(command, envelope, payload_hash))
        generation, log_head = number, payload_hash
    return entries
