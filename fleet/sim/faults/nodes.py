"""Nodes of a history: real ones on disks that fail, seen at whatever they say and hear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from reram_fleet.crypto import signing
from reram_fleet.crypto.sealing import SealError
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse

from edge_node.storage.journal import Journal
from edge_node.testing.nodes import NodeBackup
from fleet.errors import FleetError
from fleet.sim.faults.disks import Dies, Disk, DiskJournal, DiskKeys, Side
from fleet.sim.faults.record import Record
from fleet.sim.lies import LyingNode
from fleet.sim.links import Stream
from fleet.sim.members import RESTART_S, Member
from fleet.sim.scenario import Link

#: Errors that logic may raise: anything else is a defect.
EXPECTED = (FleetError, SignatureError, SealError, OSError)
#: Messages of each direction that are kept to be replayed.
_KEPT = 60


class FaultyNode(LyingNode):
    """A real node on a disk that fails; what it says and hears is noted, as any listener would."""

    def __init__(self, node_id: str, record: Record, **options: Any) -> None:
        super().__init__(node_id, **options)
        self.disk, self._record = Disk(node_id, self.backup), record
        draw = self._randomness.draw
        self._subject_keys, self._revision_keys = DiskKeys(self.disk, draw=draw), DiskKeys(self.disk, draw=draw)
        self._durable: DiskJournal | None = None
        #: Whether what it hears now is an old message, which says nothing new.
        self.deaf = False
        #: Receipts that said what was not so, by hash.
        self.lied: set[bytes] = set()

    @property
    def keys_of_people(self) -> set[str]:
        """Ids of the keys of people that are there, whole or half."""
        assert isinstance(self._subject_keys, DiskKeys)
        return self._subject_keys.ids() | self._subject_keys.leftovers

    def _opened(self, journal: bytes) -> Journal:
        opened = DiskJournal.in_memory(self.node_id, journal)
        assert isinstance(opened, DiskJournal)
        self._durable, opened.disk = opened, self.disk
        return opened

    def backup(self) -> NodeBackup:
        """Return a copy of all that is durable."""
        journal = b"" if self._durable is None else self._durable.content()
        return NodeBackup(journal, self._subject_keys.copy(), self._revision_keys.copy())

    def restore(self, backup: NodeBackup) -> None:
        """Start anew from a backup, as after a kill."""
        self._record.note("start", self.node_id)
        super().restore(backup)

    def receive(self, message: ConnectResponse) -> list[ConnectRequest]:
        """Act upon one message of the coordinator and return the answers."""
        if not self.deaf:
            self._hears(message)
        answers = self._says(super().receive(message))
        if message.HasField("lease"):
            self.look("look")
        elif message.HasField("forget_log"):
            tombstones = frozenset(self.node.context.journal.tombstones())
            self._record.note("sram", self.node_id, tombstones=tombstones, **self.sram)
        return answers

    @property
    def sram(self) -> dict[str, frozenset[str]]:
        """Tags of what is in SRAM: of adapters, of the head's columns, of the LoRA's rows."""
        engine, index = self.node.context.recognition, self.node.context.node_index
        assert engine is not None
        head, lora = engine.active_head(index), engine.active_lora(index)
        return {
            "active": frozenset(engine.active_tags(index)),
            "head": frozenset(head.subject_tags if head else ()),
            "lora": frozenset(row.subject_tag for row in lora.rows) if lora else frozenset(),
        }

    def heartbeat(self) -> list[ConnectRequest]:
        """Return the sign of life, and what goes with it."""
        return self._says(super().heartbeat())

    def look(self, kind: str, **data: Any) -> None:
        """Note how it serves now."""
        status = self.node.serve_status()
        generation = self.node.context.journal.position().generation
        serving = status.state == types.SERVE_STATE_SERVING
        self._record.note(kind, self.node_id, serving=serving, generation=generation, **data)

    def _hears(self, message: ConnectResponse) -> None:
        note = partial(self._record.note)
        match message.WhichOneof("message"):
            case "forget_log":
                for entry in message.forget_log.entries:
                    command = types.ForgetCommand.FromString(entry.payload)
                    note("entry", self.node_id, generation=command.generation, payload=signing.payload_hash(entry))
            case "lease":
                lease = types.Lease.FromString(message.lease.payload)
                note(
                    *("lease", self.node_id),
                    sequence=lease.sequence,
                    nonce=lease.request_nonce,
                    generation=lease.generation,
                    max_age_s=lease.max_age_ms / 1000,
                )
            case "revision":
                manifest = types.RevisionManifest.FromString(message.revision.manifest.payload)
                note("revision", self.node_id, revision=manifest.revision, digest=manifest.digest)
            case "contribution_ack":
                ack = message.contribution_ack
                note("contributed", self.node_id, tag=ack.subject_tag, sequence=ack.sequence, refusal=ack.refusal)
            case "receipt_ack":
                judged = message.receipt_ack
                lied = judged.receipt_hash in self.lied
                note(
                    *("judged", self.node_id),
                    generation=judged.generation,
                    receipt=judged.receipt_hash,
                    accepted=judged.accepted,
                    lied=lied,
                    reason=judged.reason,
                )

    def _says(self, messages: list[ConnectRequest]) -> list[ConnectRequest]:
        for message in messages:
            kind = message.WhichOneof("message")
            heartbeat = message.heartbeat if kind == "heartbeat" else message.suppressed.heartbeat
            if kind in ("heartbeat", "suppressed") and heartbeat.lease_nonce:
                self._record.note("asked", self.node_id, nonce=heartbeat.lease_nonce)
            if kind == "suppressed":
                report = message.suppressed
                self._record.note("suppressed", self.node_id, generation=report.generation, head=report.log_head)
            if kind == "receipt" and self.lie:
                self.lied.add(signing.payload_hash(message.receipt))
        return messages


class FaultyMember(Member):
    """A node that dies at durable steps, stands still, and says what was made up for it.

    Attributes
    ----------
    liar
        Whether it has ever lied.
    lives
        How often it has begun anew with less than it knew: from a backup, or from a disk that had lost something.
    """

    node: FaultyNode

    def __init__(self, *arguments: Any, record: Record, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._record = record
        self.liar = self.stopped = False
        self.lives = 0
        #: What it heard and said lately, to be replayed.
        self.heard: list[ConnectResponse] = []
        self.said: list[ConnectRequest] = []
        self._waiting: list[tuple[Stream, ConnectResponse]] = []

    def die(self, survives: NodeBackup | None, down_s: float, *, lost: bool) -> None:
        """End in the middle of what it did; what survives is less than what seems to be durable, perhaps.

        `lost` says that its disk is to blame for that.
        """
        if survives is not None and lost:
            self.lose_knowledge()
        self.crash(survives, down_s)

    def lose_knowledge(self) -> None:
        """Note that it will begin anew with less than it knew."""
        self.lives += 1
        self._record.note("went-back", self.node_id)

    def _start(self) -> None:
        if self.retired:
            return
        try:
            super()._start()
        except (Dies, Exception) as error:  # noqa: BLE001  # A supervisor starts it again, whatever it was.
            survives = self.node.disk.survives if isinstance(error, Dies) else None
            if isinstance(error, Dies) and error.side in (Side.LOST, Side.REORDERED) and survives is not None:
                self.lose_knowledge()
            self._record.note("does-not-start", self.node_id, error=f"{type(error).__name__}: {error}")
            self._note_unexpected(error)
            self.runs, self._crashed_with = False, survives or self.node.backup()
            self.node.disk.survives = None
            self._scheduler.after(RESTART_S, self._start)

    def _note_unexpected(self, error: BaseException) -> None:
        if not isinstance(error, (*EXPECTED, Dies)):
            self._record.note("unexpected", self.node_id, error=f"{type(error).__name__}: {error}")

    def _receive(self, stream: Stream, message: ConnectResponse) -> None:
        if self.stopped:
            self._waiting.append((stream, message))
            return
        self.heard = [*self.heard[-_KEPT:], message]
        try:
            super()._receive(stream, message)
        except Exception as error:  # noqa: BLE001  # The link does not die of what it carries either.
            self._broken(stream, error)

    def _say(self, messages: Sequence[ConnectRequest]) -> None:
        self.said = [*self.said[-_KEPT:], *messages]
        if self._stream is None:
            return
        # Upwards a stream is in order, whoever overtakes downwards: the receipts of a node are a chain.
        link, self._stream.link = self._stream.link, self._stream.link.model_copy(update={"reorder": 0.0})
        super()._say(messages)
        self._stream.link = link

    def _say_hello(self, stream: Stream, nonce: bytes) -> None:
        try:
            super()._say_hello(stream, nonce)
        except Exception as error:  # noqa: BLE001
            self._broken(stream, error)

    def beat(self) -> None:
        """Send a heartbeat now, and the next one in time."""
        stream = self._stream
        if self.stopped:
            return
        try:
            super().beat()
        except Exception as error:  # noqa: BLE001
            assert stream is not None
            self._broken(stream, error)

    def _broken(self, stream: Stream, error: Exception) -> None:
        self._record.note("node-error", self.node_id, error=f"{type(error).__name__}: {error}")
        self._note_unexpected(error)
        stream.end()

    @property
    def link(self) -> Link:
        """Link that it sends over."""
        return self._link

    def stop(self, lasts_s: float) -> None:
        """Stand still for a while."""
        self.stopped = True
        self._scheduler.after(lasts_s, self.go_on)

    def go_on(self) -> None:
        """Go on with what has come meanwhile."""
        self.stopped, waiting = False, self._waiting
        self._waiting = []
        for stream, message in waiting:
            self._receive(stream, message)
        self.beat()

    def replay(self, message: ConnectResponse) -> None:
        """Get an old message once more, and what is said twice is not heard."""
        if self._stream is not None and self.connected:
            self.node.deaf = True
            try:
                self._receive(self._stream, message)
            finally:
                self.node.deaf = False

    def say_as_is(self, message: ConnectRequest) -> None:
        """Send a message that the node has not made."""
        if self.connected:
            super()._say([message])

    def names(self, samples: Mapping[str, Sequence[np.ndarray]]) -> dict[str, set[str]]:
        """Return whom it names when it is asked with somebody's samples, by that person's tag."""
        if self.stopped or not samples:
            return {}
        flat = [sample for each in samples.values() for sample in each]
        answers = iter(self.ask(flat))
        return {tag: {next(answers) for _ in each} - {""} for tag, each in samples.items()} if flat else {}
