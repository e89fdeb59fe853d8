"""Node of a test's fleet: a real one in memory, which knows people by their codes and may be made to lie."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import IdentifyResponse
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse, Contribution, Hello, PublicCodes

from edge_node.agent.lease import HeldLease
from edge_node.engine import NodeEngine
from edge_node.storage.journal import Journal
from edge_node.testing import MemoryEngine, MemoryNode
from fleet.coordinator.testing import FEATURES, REGISTRY_KEY
from fleet.sim.lies import amend_receipts
from hwmodel import Cost, Phase


class Device(MemoryNode):
    """A real node, and what tests ask of it.

    Attributes
    ----------
    amend
        Changes a receipt before the node signs it and writes it down: a node that lies.
    says
        What becomes of a message before it is sent: itself, another one, or None if it is never sent.
    """

    def __init__(self, node_id: str, **options: Any) -> None:
        super().__init__(node_id, **{"make_engine": self._engine, **options})
        self.amend: Callable[[types.Receipt], None] = lambda receipt: None
        self.says: Callable[[ConnectRequest], ConnectRequest | None] = lambda message: message
        self._public: tuple[npt.NDArray[Any], Sequence[int]] | None = None

    def _engine(self, saved: Mapping[Phase, Cost]) -> NodeEngine:
        return MemoryEngine(saved, features=FEATURES, public=self._public)

    def _start(self, journal: bytes) -> None:
        super()._start(journal)
        amend_receipts(self.node, lambda receipt: self.amend(receipt))

    def receive(self, message: ConnectResponse) -> list[ConnectRequest]:
        """Act upon a message; returns what is said."""
        return self._said(super().receive(message))

    def heartbeat(self) -> list[ConnectRequest]:
        """Return what is said with a sign of life."""
        return self._said(super().heartbeat())

    def _said(self, messages: list[ConnectRequest]) -> list[ConnectRequest]:
        return [said for message in messages if (said := self.says(message)) is not None]

    def twin(self) -> Device:
        """Return a copy of the node, keys and all, that goes its own way from here."""
        twin = type(self)(self.node_id, clock=copy.copy(self.clock))
        twin.keys, twin.enrollment, twin._public = self.keys, self.enrollment, self._public
        twin.restore(self.backup())
        return twin

    def capture(self, tag: str, codes: npt.NDArray[Any]) -> None:
        """Enrol somebody on this node, by codes [samples, features]."""
        self.node.enroll(self.ticket(tag), _samples(codes))

    def identify(self, codes: npt.NDArray[Any]) -> IdentifyResponse:
        """Ask whose such samples are."""
        return self.node.identify(_samples(codes))

    def show_public(self, codes: npt.NDArray[Any], person: Sequence[int]) -> None:
        """Let its chip have made these codes, [P, features], of public people; `person` says whose each is."""
        self._public = codes, person
        self.restart()

    def ticket(self, tag: str) -> types.Envelope:
        """Return the leave to enrol somebody here that the caller's registry has given."""
        return issue_ticket(
            REGISTRY_KEY, fleet_id=self.fleet_id, subject_tag=tag, node_ids=[self.node_id], expires_at_unix_ms=2**62
        )

    def contribution(self) -> ConnectRequest:
        """Return the one contribution that goes with the next sign of life."""
        (message,) = [said for said in self.heartbeat() if said.HasField("contribution")]
        return message

    def forge(self, kind: str, change: Callable[[Any], object]) -> None:
        """Change every signed message of a kind before it is sent, and sign it anew."""
        types_of = {"hello": Hello, "contribution": Contribution, "public_codes": PublicCodes}

        def says(message: ConnectRequest) -> ConnectRequest:
            if not message.HasField(kind):  # type: ignore[arg-type]
                return message
            inner = types_of[kind].FromString(getattr(message, kind).payload)
            change(inner)
            return ConnectRequest(**{kind: self.signed(inner)})

        self.says = says

    def forged_contribution(self, given: types.SubjectAdapter, sequence: int = 1, **changes: Any) -> ConnectRequest:
        """Return an adapter as if the node contributed it, whoever and whatever it is; `changes` replace fields."""
        purpose = sealing.contribution_purpose(self.fleet_id, self.node_id, given.subject_tag)
        receiver = self.enrollment.coordinator_sealing_public_key
        message = Contribution(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            subject_tag=given.subject_tag,
            sequence=sequence,
            generation=self.generation,
            adapter=sealing.seal(receiver, purpose, given.SerializeToString()),
            ticket=self.ticket(given.subject_tag),
        )
        for name in changes:
            message.ClearField(name)
        message.MergeFrom(Contribution(**changes))
        return ConnectRequest(contribution=self.signed(message))

    def signed(self, message: Message) -> types.Envelope:
        """Sign whatever it is with the node's key."""
        return signing.sign(self.signing_key, message)

    # What tests look at

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        return self.keys.signing

    @property
    def fleet_id(self) -> str:
        return self.enrollment.fleet_id

    @property
    def journal(self) -> Journal:
        return self.node.context.journal

    @property
    def generation(self) -> int:
        return self.journal.position().generation

    @property
    def revision(self) -> int:
        active = self.journal.active_revision()
        return active.revision if active else 0

    @property
    def enrolled(self) -> set[str]:
        """Tags of those whose codes are on its disk."""
        return {row.subject_tag for row in self.journal.enrolments()}

    @property
    def receipts(self) -> list[types.Envelope]:
        return [types.Envelope.FromString(row.envelope) for row in self.journal.receipts()]

    @property
    def serving(self) -> bool:
        return self.node.serve_status().state == types.SERVE_STATE_SERVING

    @property
    def lease(self) -> HeldLease | None:
        return self.node._serve_state._leases._lease

    @property
    def lora(self) -> types.SharedLora:
        return self.node._adapters.lora

    @property
    def head(self) -> types.ClosedFormHead:
        return self.node._adapters.head


def _samples(codes: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
    # An engine's codes are the channel sums of a sample: here, of one frame.
    return list(codes[:, None].astype(np.float32))
