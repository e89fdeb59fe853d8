"""Looks at a fleet of real processes: what nodes answer and keep, and what the coordinator says and keeps.

They note what the looks at a simulated fleet note (`fleet.sim.faults.observing`), so that the same rules judge it. What
nobody outside of a process can see is empty: head and LoRA in a node's SRAM, and what is within TLS.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

import grpc
import psycopg
from reram_fleet.crypto import signing
from reram_fleet.crypto.key_store import FileKeyStore
from reram_fleet.errors import FleetError
from reram_fleet.v1 import types_pb2 as types
from sqlalchemy.exc import SQLAlchemyError

from edge_node.config import StateFolder
from fleet.client import FleetClient
from fleet.coordinator.at_rest import unseal
from fleet.coordinator.folder import CoordinatorFolder
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS
from fleet.local.errors import LocalFleetError
from fleet.local.layout import Layout
from fleet.local.node import LocalNode
from fleet.sim.faults.nodes import EXPECTED
from fleet.sim.faults.observing import said_by_store
from fleet.sim.faults.record import Record
from fleet.sim.faults.rules import REFUSED
from fleet.store.database import Store, Transaction
from fleet.trust.audit import verify_certificate
from fleet.trust.checks import failures
from fleet.trust.merkle import MemoryTree
from tests.faults.real.acting import Hands
from tests.faults.real.fleet import HurtFleet
from tests.faults.real.moments import Moments
from tests.faults.real.operating import Operator

#: What a look may meet while something fails.
AWAY = (FleetError, SQLAlchemyError, sqlite3.Error, OSError)
_READ_WITHIN_S = 0.2
_LEDGER = "SELECT sum(energy_j), sum(cell_writes) FROM cost"
_TRACEBACK = "Traceback (most recent call last):"


class Observer:
    """Eyes on a fleet: everything that they see is noted."""

    def __init__(self, fleet: HurtFleet, hands: Hands, operator: Operator, record: Record, moments: Moments) -> None:
        self._fleet, self._hands, self._operator = fleet, hands, operator
        self._record, self._moments = record, moments
        self._folder = CoordinatorFolder(fleet.layout.coordinator, fleet.database.url if fleet.database else None)
        self._client: FleetClient = fleet.impatient_client()
        # It knows its statements from then on; its connections are closed after each look.
        self._reader = Store.read_only(self._folder.database_url)
        #: What was noted last, by what it is of: the same again is no news.
        self._noted: dict[object, object] = {}
        self._read: dict[str, int] = {}

    def close(self) -> None:
        """Close the connection to the coordinator."""
        self._client.__exit__()

    @contextmanager
    def _rows(self) -> Iterator[Transaction]:
        with closing(self._reader), self._reader.snapshot() as tx:
            yield tx

    def _news(self, key: object, value: object) -> bool:
        known = self._noted.get(key) == value
        self._noted[key] = value
        return not known

    # The coordinator

    def look_at_coordinator(self) -> None:
        """Note what the coordinator's database says, if it can be read now."""
        try:
            with self._rows() as tx:
                seen = said_by_store(tx, self._newest(tx))
                heard = [(node.node_id, node.generation, node.log_head) for node in tx.nodes.list()]
                once = self._signed_and_judged(tx)
        except AWAY:
            return
        for kind, node, data in once:
            self._record.note(kind, node, **data)
        for node, generation, head in heard:
            if self._news(("suppressed", node), (generation, head)):
                self._record.note("suppressed", node, generation=generation, head=head)
        self._record.note("store", "", **seen)

    def _newest(self, tx: Transaction) -> types.RevisionContent:
        """Return the content of the newest revision, opened by the coordinator's own key."""
        newest = tx.revisions.latest()
        if newest is None or newest.ciphertext is None:
            return types.RevisionContent()
        keys = FileKeyStore(self._folder.secrets)
        plaintext = unseal(keys, newest.key_id, newest.key_id, newest.ciphertext)
        return types.RevisionContent.FromString(plaintext)

    def _signed_and_judged(self, tx: Transaction) -> list[tuple[str, str, dict[str, Any]]]:
        """Return what is signed once, and receipts that were accepted, as far as they are news."""
        found: list[tuple[str, str, dict[str, Any]]] = []
        for entry in tx.log.range(0):
            payload = signing.payload_hash(types.Envelope.FromString(entry.envelope))
            if self._news(("entry", entry.generation), payload):
                found.append(("entry", "", {"generation": entry.generation, "payload": payload}))
        for row in tx.revisions.list():
            if self._news(("revision", row.revision), row.digest):
                found.append(("revision", "", {"revision": row.revision, "digest": row.digest}))
        for campaign in tx.forgets.list():
            for execution in tx.forgets.executions(campaign.campaign_id):
                if execution.state not in SUCCESS or execution.receipt is None:
                    continue
                receipt = signing.payload_hash(types.Envelope.FromString(execution.receipt))
                if self._news(("receipt", execution.node_id, campaign.generation), receipt):
                    said = {"generation": campaign.generation, "receipt": receipt, "accepted": True, "lied": False}
                    found.append(("judged", execution.node_id, said))
        return found

    def tags_of(self, generation: int) -> tuple[str, ...]:
        """Return all that a forget names, its canary too; nothing if that cannot be read now."""
        try:
            with self._rows() as tx:
                return tuple(tx.forgets.by_generation(generation).tags)
        except AWAY:
            return ()

    # Nodes

    def look_at_node(self, index: int) -> None:
        """Note what a node answers, whom it names of those who were forgotten, and what it keeps."""
        node = self._fleet.nodes[index]
        if node.node_id in self._hands.stopped:
            return
        try:
            begun_s, seen, ledger, contributed = self._asked(node)
        except (*AWAY, LocalFleetError):
            return
        until_s = self._leased_until_s(node.node_id, begun_s)
        for tag, sequence, refusal in contributed:
            if self._news(("contributed", node.node_id, tag), (sequence, refusal)):
                self._record.note("contributed", node.node_id, tag=tag, sequence=sequence, refusal=refusal)
        with self._moments.as_of(begun_s):
            self._record.note("leased", node.node_id, until_s=until_s)
            self._record.note("seen", node.node_id, **seen)
            self._record.note("ledger", node.node_id, **ledger)

    def _asked(self, node: LocalNode) -> tuple[float, dict[str, Any], dict[str, Any], list[Any]]:
        folder = StateFolder(node.state)
        running = node.running()
        with closing(_journal(node)) as journal:
            # Before the engine is asked, which holds its lock from the journal to SRAM.
            tombstones = frozenset(tag for (tag,) in journal.execute("SELECT subject_tag FROM tombstone"))
            saved_j, _ = journal.execute(_LEDGER).fetchone()
            kept = journal.execute("SELECT subject_tag, acked_sequence, refusal FROM enrolment").fetchall()
        begun_s = self._moments.now_s
        with node.engine() as engine:
            samples = self._operator.samples_of_forgotten()
            answer = engine.identify(samples) if samples else None
            status = engine.status()
        if node.running() != running:
            raise LocalFleetError(f"{node.node_id} was started again meanwhile")
        named = {
            name
            for each in (answer.answers if answer else ())
            for name in (each.best_tag, each.best_tag_subject_only, each.best_tag_without_head)
        }
        serving = status.serve_state == types.SERVE_STATE_SERVING
        seen = {
            "serving": serving,
            # It may have gone on between two answers: what it named, it named at this generation or a later one.
            "generation": answer.generation if answer else status.generation,
            "connected": status.connected,
            "named": frozenset(named - {""}),
            "active": frozenset(status.subject_tags),
            "head": frozenset[str](),
            "lora": frozenset[str](),
            "kept": frozenset(tag for tag, _, _ in kept),
            "keys": frozenset(FileKeyStore(folder.subject_keys).ids()),
            "tombstones": tombstones,
        }
        ledger = {
            "joules": sum(cost.energy_j for cost in status.costs),
            "cell_writes": status.reram_writes,
            "saved_joules": saved_j or 0.0,
            "boot": running.pid if running else 0,
            "lives": 0,
        }
        return begun_s, seen, ledger, [row for row in kept if row[1] or row[2]]

    def _leased_until_s(self, node_id: str, begun_s: float) -> float:
        """Return until when the lease lasts, at the latest, that a node had at a moment."""
        try:
            return self._moments.at_s(self._client.get_node(node_id).node.lease_until_unix_ms)
        except FleetError:
            # Nobody says: it may have given one as long as it did not stand still.
            last_s = self._hands.silent_since_s
            return (begun_s if last_s is None else last_s) + self._record.lease_s

    # The end

    def look_at_all(self) -> None:
        """Look at everything."""
        self.look_at_coordinator()
        for index in range(len(self._fleet.nodes)):
            self.look_at_node(index)

    def note_end(self, missing: Iterable[str], campaigns: Iterable[str]) -> None:
        """Note what is compared at the end with what was acknowledged; `campaigns` are those that get certificates."""
        with self._rows() as tx:
            tree = MemoryTree([row.hash for row in tx.tree.leaves()])
            converged = {each.campaign_id for each in tx.forgets.list() if each.state is CampaignState.CONVERGED}
            found = {
                "heads": {entry.generation: tx.log.head_of(entry.generation) for entry in tx.log.range(0)},
                "forgotten": {tag: each.generation for each in reversed(tx.forgets.list()) for tag in each.tags},
                "contributions": {(row.node_id, row.tag) for row in tx.subjects.contributions()},
                "size": tree.size(),
                "roots": tree.root,
            }
        journals, kept = {}, {}
        for node in self._fleet.nodes:
            with closing(_journal(node, patience_s=10.0)) as journal:
                numbers = journal.execute("SELECT generation FROM forget ORDER BY generation").fetchall()
                (head,) = journal.execute("SELECT log_head FROM node").fetchone()
                journals[node.node_id] = tuple(number for (number,) in numbers), head
                kept[node.node_id] = {tag for (tag,) in journal.execute("SELECT subject_tag FROM enrolment")}
        self._record.note(
            *("end", ""),
            open=list(missing),
            journals=journals,
            kept=kept,
            keys=frozenset(FileKeyStore(self._folder.secrets).ids()),
            certificates={each: self._audited(each) for each in campaigns if each in converged},
            audits={},
            misnamed=(),
            **found,
        )

    def _audited(self, campaign_id: str) -> list[str]:
        try:
            text = self._client.get_certificate(campaign_id, with_receipts=True)
        except FleetError as error:
            return [f"{REFUSED} {error}"]
        return [str(line) for line in failures(verify_certificate(text, self._fleet.command_public_key))]

    def read_logs(self) -> None:
        """Note errors in the logs that nobody expects, since they were read last."""
        for name in ("coordinator", *(node.node_id for node in self._fleet.nodes)):
            for error in self._errors(self._fleet.layout, name):
                self._record.note("unexpected", "" if name == "coordinator" else name, error=error)

    def _errors(self, layout: Layout, name: str) -> list[str]:
        with layout.log(name).open("rb") as file:
            file.seek(self._read.get(name, 0))
            text = file.read()
            self._read[name] = file.tell()
        found, within = [], False
        for line in text.decode(errors="replace").splitlines():
            if line.startswith(_TRACEBACK):
                within = True
            elif within and line and not line.startswith(" "):
                # The last line of a traceback: the class by its full name, and what it says.
                within = False
                if line.partition(":")[0].rpartition(".")[2] not in _expected():
                    found.append(line[:300])
        return found


@cache
def _expected() -> frozenset[str]:
    """Return the names of errors that the logic may raise: ours, the system's, and those of what is called."""
    waiting: list[type[BaseException]] = [*EXPECTED, grpc.RpcError, SQLAlchemyError, sqlite3.Error, psycopg.Error]
    found = set()
    while waiting:
        kind = waiting.pop()
        found.add(kind.__name__)
        waiting += kind.__subclasses__()
    return frozenset(found)


def _journal(node: LocalNode, patience_s: float = _READ_WITHIN_S) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{StateFolder(node.state).journal}?mode=ro", uri=True, timeout=patience_s)
