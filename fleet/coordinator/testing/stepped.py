"""A coordinator that a test takes from transaction to transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.crypto.randomness import SYSTEM, Randomness
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse, ListEvidenceRequest
from reram_fleet.v1.types_pb2 import NodeIdentity

from fleet.config import ServeSettings
from fleet.coordinator.database import Database
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.node_service import NodeService
from fleet.coordinator.nodes.report_checks import Effect, ReportError
from fleet.coordinator.nodes.sessions import Session
from fleet.coordinator.reconcile import move_on
from fleet.coordinator.serve import open_fleet, take_up
from fleet.coordinator.testing.awaited import done_now
from fleet.coordinator.testing.links import MemoryLink
from fleet.coordinator.tls import ServerTls
from fleet.coordinator.unit import UnitOfWork
from fleet.store.database import Store, wall_clock_ms
from fleet.store.rows import CampaignRow
from fleet.trust.certificate import with_receipts
from fleet.trust.keys import CoordinatorKeys, Signer

#: Enough that two random canaries are never taken for each other: of 8, one pair in 1,400 is within 0.9.
FEATURES = 32
#: Range of the codes of a made-up task.
CODES = CodeRange(FEATURES, 2**16 - 1)
#: Signs the enrolment tickets of tests.
REGISTRY_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class AnyNode(Protocol):
    """Node as a stepped coordinator sees it; `edge_node.testing.MemoryNode` is a real one."""

    @property
    def node_id(self) -> str:
        """The node's name."""

    @property
    def identity(self) -> NodeIdentity:
        """Identity to register."""

    def join(self, enrollment: EnrollNodeResponse) -> None:
        """Take over what the registration answered."""

    def receive(self, message: wire.ConnectResponse) -> list[wire.ConnectRequest]:
        """Act upon one message and return the answers, in order."""

    def heartbeat(self) -> list[wire.ConnectRequest]:
        """Return the sign of life, and what goes with it."""


def _opened(url: str, now_ms: Callable[[], int]) -> Store:
    return Store.open(url, now_ms=now_ms)


class SteppedCoordinator:
    """A coordinator over a real store and real key files, without server and loops.

    Every transaction is a call: a test can stop, lose or repeat whatever it likes between any two.
    A second instance on a folder is the same coordinator, restarted. With `learning`, a learning plane is prepared and
    never started: a test does what Flower would. `codes` is the range of the task's codes, `database` the address of a
    database that is not in the folder: one in memory is gone with its coordinator. Its own keys, and those that are
    destroyed to erase, are files in the folder unless `signer` and `secrets` hold them; other settings are
    `ServeSettings`' own. With these, a clock and seeded randomness, two coordinators that are asked the same do the
    same, to the byte.
    """

    def __init__(
        self,
        folder: Path,
        *,
        learning: bool = False,
        now_ms: Callable[[], int] = wall_clock_ms,
        codes: CodeRange = CODES,
        database: str | None = None,
        signer: Signer | None = None,
        secrets: KeyStore | None = None,
        randomness: Randomness = SYSTEM,
        open_store: Callable[[str, Callable[[], int]], Store] = _opened,
        make_database: Callable[[Store], Database] = Database,
        registry_key: bytes = REGISTRY_KEY.public_key().public_bytes_raw(),
        **settings_of_choice: Any,
    ) -> None:
        settings = ServeSettings(
            **{
                "state": folder,
                "database": database,
                "learning": learning,
                "task": "test",
                "codes": codes,
                "registry_key": registry_key,
                **settings_of_choice,
            }
        )
        paths = CoordinatorFolder(folder, database)
        paths.create()
        if signer is None:
            paths.check()
            signer = CoordinatorKeys.load_or_create(paths.keys)
        self.store = open_store(paths.database_url, now_ms)
        self._randomness = randomness
        self.coordinator = done_now(
            open_fleet(
                settings,
                make_database(self.store),
                signer,
                holder="stepped",
                tls=ServerTls.open(settings, paths) if learning else None,
                secrets=secrets,
                randomness=randomness,
            )
        )
        self.store.on_commit = self.coordinator.env.note
        #: What takes messages of nodes.
        self.node_service = NodeService(self.coordinator)
        self.links: dict[str, MemoryLink] = {}
        self.sessions: dict[str, Session] = {}
        done_now(take_up(self.coordinator))

    def close(self) -> None:
        """Close the store, as a kill would."""
        self.coordinator.database.close()

    @contextmanager
    def transaction(self) -> Iterator[UnitOfWork]:
        """Read and write: one unit of work."""
        with self.store.transaction() as tx:
            yield UnitOfWork(self.coordinator.env, tx)

    def enroll(self, *nodes: AnyNode) -> None:
        """Register nodes, and tell each what it needs to join."""
        env = self.coordinator.env
        with self.transaction() as unit:
            for node in nodes:
                unit.decisions.enroll(node.identity)
        for node in nodes:
            node.join(
                EnrollNodeResponse(
                    fleet_id=env.fleet_id,
                    command_public_key=env.keys.command_public_key,
                    coordinator_sealing_public_key=env.keys.sealing_public_key,
                    registry_public_key=env.registry_public_key,
                )
            )

    def welcome(self, hello: wire.ConnectRequest, nonce: bytes) -> Session:
        """Check the first message of a stream and open its session; raises what `check_hello` raises."""
        node_id = done_now(self.node_service.welcome(hello, nonce))
        link = self.links[node_id] = MemoryLink()
        session = self.sessions[node_id] = self.coordinator.env.sessions.open(node_id, link)
        return session

    def disconnect(self, node_id: str) -> None:
        """End the node's stream."""
        if (session := self.sessions.pop(node_id, None)) is not None:
            self.coordinator.env.sessions.close(session)

    def take(self, node_id: str, request: wire.ConnectRequest) -> Effect:
        """Handle one message of a connected node, or put it aside: `NodeService.take`."""
        return done_now(self.node_service.take(node_id, request))

    def outbox(self, node_id: str) -> list[wire.ConnectResponse]:
        """Return what the node's stream is sent now."""
        session, link = self.sessions[node_id], self.links[node_id]
        done_now(self.coordinator.dispatcher.send_due([session]))
        if session.refusal:
            raise ReportError(session.refusal)
        if link.ended:
            self.disconnect(node_id)
        return link.taken()

    def forget(
        self, request_id: str, *tags: str, allow_unknown: bool = False, concepts: Sequence[str] = ()
    ) -> tuple[CampaignRow, bool]:
        """Commit a forget; returns its campaign and whether it is new."""
        with self.transaction() as unit:
            campaign = unit.campaigns.create(request_id, tags, allow_unknown=allow_unknown, concepts=concepts)
        self.destroy_orphaned_keys()
        return campaign

    def certificate(self, campaign_id: str) -> str:
        """Return the certificate of a forget, with every node's receipt beside it."""
        with self.transaction() as unit:

            def page(log_size: int, token: str) -> tuple[Sequence[str], str]:
                request = ListEvidenceRequest(campaign_id=campaign_id, tree_size=log_size, page_token=token)
                response = unit.certificates.evidence(request)
                return response.nodes, response.next_page_token

            return with_receipts(unit.certificates.issue(campaign_id), page)

    def step(self) -> bool:
        """Let the reconciler look once; returns whether it changed anything."""
        return done_now(move_on(self.coordinator))

    def destroy_orphaned_keys(self) -> None:
        """Destroy the keys of what was forgotten, erased or finished."""
        done_now(self.coordinator.destroy_orphaned_keys())

    def connect(self, node: AnyNode) -> list[wire.ConnectRequest]:
        """Open a node's stream; returns what the node says after its hello."""
        nonce = self._randomness.draw(32)
        hello, *rest = node.receive(wire.ConnectResponse(challenge=wire.Challenge(nonce=nonce)))
        self.welcome(hello, nonce)
        return rest

    def converse(self, *nodes: AnyNode) -> None:
        """Connect nodes that are not, and pass messages over a perfect network until nobody has any more."""
        said = {
            node.node_id: self.connect(node) if node.node_id not in self.sessions else node.heartbeat()
            for node in nodes
        }
        moved = True
        while moved:
            moved = self.step()
            for node in nodes:
                if node.node_id not in self.sessions:
                    # Its stream was ended, so that it says hello anew.
                    said[node.node_id] = self.connect(node)
                answers = said.pop(node.node_id, [])
                replies = [reply for answer in answers for reply in self.take(node.node_id, answer).replies]
                replies += self.outbox(node.node_id)
                said[node.node_id] = [answer for reply in replies for answer in node.receive(reply)]
                moved |= bool(answers or replies)
