"""Nodes: as enrolled, and as last heard of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from reram_fleet.crypto.identifiers import check_node_id
from reram_fleet.v1.types_pb2 import NodeIdentity
from sqlalchemy import Integer, bindparam, delete, exists, func, select

from fleet.domain.execution import ExecutionState
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.store import schema
from fleet.store.repository import Repository, equal, given, one_of
from fleet.store.rows import CostSumRow, NodeCostRow, NodeFactsRow, NodeRow, QuarantinedReportRow
from fleet.store.touched import Contact

_RAW_KEY_BYTES = 32
#: Reasons that are kept apart per node: what an operator would read.
_MAX_REASONS = 50
_MORE = "further reasons"


_NODE = schema.node.c
_ALL = select(schema.node).order_by(_NODE.node_id)
_ONE, _CHOSEN = _ALL.where(given(_NODE.node_id)), _ALL.where(one_of(_NODE.node_id))
_IN_FLEET = _ALL.where(_NODE.retired_at_ms.is_(None))
_HELD = _IN_FLEET.where(_NODE.held_reason != "")
_FIRST_SOUND = (
    select(_NODE.node_id)
    .where(_NODE.held_reason == "", _NODE.retired_at_ms.is_(None))
    .where(_NODE.node_id.not_in(bindparam("without", expanding=True)))
    .order_by(_NODE.node_id)
    .limit(bindparam("count", type_=Integer))
)
_IS_ORDERED = exists().where(
    schema.execution.c.node_id == _NODE.node_id, schema.execution.c.state == ExecutionState.APPLYING
)
_BEHIND = select(_NODE.node_id).where(
    (_NODE.generation < bindparam("generation"))
    | (_NODE.revision != bindparam("revision"))
    | _NODE.retired_at_ms.is_not(None)
    | _NODE.awaited_since_ms.is_not(None)
    | _IS_ORDERED
)
_BEHIND_AMONG = _BEHIND.where(one_of(_NODE.node_id))


class NodeReport(TypedDict, total=False):
    """Fields of a `NodeRow` that the node says about itself."""

    generation: int
    log_head: bytes
    revision: int
    revision_digest: bytes
    serve_state: ServeState
    quarantine_reason: QuarantineReason
    software_version: str
    inferences: int
    subject_adapters: int
    energy_model_name: str
    energy_model_version: str
    #: What making the active revision active cost (serialised DeploymentOverhead).
    overhead: bytes
    #: What the energy model says of its chip (serialised ChipFigures).
    chip: bytes


class Nodes(Repository):
    """Enrolment, reports, holds and costs."""

    def enroll(self, identity: NodeIdentity) -> tuple[NodeRow, bool]:
        """Register a node; returns its row and whether it is new. The same identity again changes nothing.

        `InvalidInputError` if a key or the id of a new node is malformed; `ConflictError` if the id is taken by other
        keys, or the node was retired.
        """
        for name in ("receipt_public_key", "sealing_public_key"):
            if len(getattr(identity, name)) != _RAW_KEY_BYTES:
                raise InvalidInputError(f"the {name} of {identity.node_id} must be {_RAW_KEY_BYTES} raw bytes")
        keys = {
            "receipt_public_key": identity.receipt_public_key,
            "sealing_public_key": identity.sealing_public_key,
            "flower_public_key": identity.flower_public_key,
        }
        existing = self.find(identity.node_id)
        if existing is not None:
            if any(getattr(existing, name) != key for name, key in keys.items()):
                raise ConflictError(
                    f"node {identity.node_id} is enrolled with other keys",
                    hint="a device that was wiped is a new node: give it a new id and retire the old one",
                )
            if existing.retired_at_ms is not None:
                raise ConflictError(f"node {identity.node_id} was retired", hint="enrol it under a new id")
            return existing, False
        try:
            check_node_id(identity.node_id)
        except ValueError as error:
            raise InvalidInputError(str(error)) from None
        by_key = schema.node.c.receipt_public_key == identity.receipt_public_key
        if twins := self._column(select(schema.node.c.node_id).where(by_key)):
            raise ConflictError(
                f"node {twins[0]} is enrolled with the receipt key of {identity.node_id}",
                hint="state folders must not be copied: run `edge-node init` on each device",
            )
        self._insert(schema.node, node_id=identity.node_id, **keys, enrolled_at_ms=self._now_ms)
        return self.get(identity.node_id), True

    def find(self, node_id: str) -> NodeRow | None:
        """Return the node, or None."""
        return self._once(
            schema.node,
            node_id,
            lambda: self._row(self._node, _ONE, node_id=node_id),
        )

    def prefetch(self, node_ids: Iterable[str]) -> None:
        """Read these nodes at once, for those who are about to ask for each."""
        self._scope.read[schema.node.name].update((node.node_id, node) for node in self.chosen(node_ids))

    def get(self, node_id: str) -> NodeRow:
        """Return the node; `NotFoundError` if it never was enrolled."""
        node = self.find(node_id)
        if node is None:
            raise NotFoundError(f"no node {node_id!r} is enrolled", hint="fleet node list")
        return node

    def list(self, *, include_retired: bool = False) -> Sequence[NodeRow]:
        """Return the nodes, by id."""
        return self._rows(self._node, _ALL if include_retired else _IN_FLEET)

    def facts(self, first: int = 0, most: int | None = None) -> Sequence[NodeFactsRow]:
        """Return what metrics say of the nodes that are not retired, by id: all, or so many from one on."""
        node, names = schema.node.c, NodeFactsRow.__slots__
        query = select(*(node[name] for name in names)).where(node.retired_at_ms.is_(None)).order_by(node.node_id)
        query = query.offset(first).limit(most)
        contacts = self._scope.contacts
        found = []
        for row in self._run(query):
            said = contacts.of(row.node_id).row
            found.append(NodeFactsRow(*(said.get(name, row[place]) for place, name in enumerate(names))))
        return found

    def page(self, *, after: str = "", limit: int) -> Sequence[NodeRow]:
        """Return the first so many nodes behind one, by id, without those that are retired."""
        node = schema.node.c
        query = select(schema.node).where(node.retired_at_ms.is_(None), node.node_id > after)
        return self._rows(self._node, query.order_by(node.node_id).limit(limit))

    def count(self, *, retired: bool = False) -> int:
        """Return how many nodes are not retired, or are."""
        when = schema.node.c.retired_at_ms
        counted = when.is_not(None) if retired else when.is_(None)
        return int(self._run(select(func.count()).where(counted)).scalar_one())

    def chosen(self, node_ids: Iterable[str]) -> Sequence[NodeRow]:
        """Return these nodes, retired ones among them, by id."""
        return self._rows(self._node, _CHOSEN, node_id=list(node_ids))

    def ids(self) -> Sequence[str]:
        """Return the ids of the nodes that are not retired, sorted."""
        node = schema.node.c
        return self._column(select(node.node_id).where(node.retired_at_ms.is_(None)).order_by(node.node_id))

    def revisions(self) -> Sequence[int]:
        """Return the revisions that nodes run which are not retired."""
        node = schema.node.c
        return self._column(select(node.revision).where(node.retired_at_ms.is_(None)).distinct())

    def behind(self, generation: int, revision: int, among: Collection[str] | None = None) -> frozenset[str]:
        """Return the ids of the nodes, all or `among` some, that have not this generation, another revision, an erase
        order that is out, something to say after a restore, or no place in the fleet any more.
        """
        at = {"generation": generation, "revision": revision}
        if among is None:
            return frozenset(self._column(_BEHIND, **at))
        return frozenset(self._column(_BEHIND_AMONG, **at, node_id=list(among)))

    def first_sound(self, count: int, without: Iterable[str]) -> Sequence[str]:
        """Return the ids of the first so many nodes, by id, that are neither held nor retired nor left out."""
        return self._column(_FIRST_SOUND, without=list(without), count=count)

    def held(self) -> Sequence[NodeRow]:
        """Return the nodes that are held and not retired, by id."""
        return self._rows(self._node, _HELD)

    def _node(self, **row: Any) -> NodeRow:
        return NodeRow(**{**row, **self._scope.contacts.of(row["node_id"]).row})

    def write_contacts(self, contacts: Mapping[str, Contact]) -> None:
        """Store what nodes said last."""
        for node_id, contact in contacts.items():
            if contact.row:
                self._change(schema.node, {"node_id": node_id}, contact.row)
        self._written(schema.node)
        self.save_costs([cost for contact in contacts.values() for cost in contact.costs])

    def touch(self, node_id: str, **report: Unpack[NodeReport]) -> None:
        """Note a sign of life, and whatever the node said about itself.

        A generation may go down: a node that was restored from a backup says so, and must be believed.
        """
        self._set(node_id, last_contact_ms=self._now_ms, **report)
        self._touched.nodes.add(node_id)

    def await_hello(self, node_id: str, since_ms: int) -> None:
        """Note that the node has yet to say what it knows that these rows may have lost."""
        self._set(node_id, awaited_since_ms=since_ms)

    def heard(self, node_id: str) -> None:
        """Note that the node has said it."""
        self._set(node_id, awaited_since_ms=None)
        self._touched.awaited[node_id] = False
        self._touched.nodes.add(node_id)

    def unheard(self) -> frozenset[str]:
        """Return the ids of the nodes, but for retired ones, that have not said where they are since a restore."""
        node = schema.node.c
        waits = (node.awaited_since_ms.is_not(None), node.retired_at_ms.is_(None))
        return frozenset(self._column(select(node.node_id).where(*waits)))

    def set_flower_node_id(self, node_id: str, flower_node_id: int) -> None:
        """Note under which id the SuperLink knows the node's SuperNode."""
        self._set(node_id, flower_node_id=flower_node_id)

    def hold(self, node_id: str, reason: str) -> None:
        """Withhold leases from the node, for a reason that operators read."""
        if not reason:
            raise InvalidInputError("holding a node needs a reason")
        self._set(node_id, held_reason=reason)
        self._note_held(node_id, held=True)

    def release(self, node_id: str) -> None:
        """Give leases to a held node again."""
        self._set(node_id, held_reason="")
        self._note_held(node_id, held=False)

    def _note_held(self, node_id: str, *, held: bool) -> None:
        self._touched.held[node_id] = held
        self._touched.nodes.add(node_id)
        self._touched.heads = True

    def retire(self, node_id: str, reason: str) -> None:
        """Take the node out of the fleet for good; it is held as well, since a report may be on its way."""
        self.hold(node_id, f"retired: {reason}")
        self._set(node_id, retired_at_ms=self._now_ms)
        self._touched.awaited[node_id] = False

    def extend_leases(self, horizon_ms: int) -> None:
        """Assume of every node that was heard of that it was granted a lease until the horizon (Unix ms).

        For a start after a crash: which leases were granted last was not written. After a restore, nodes may have been
        heard of, or released, that are not in these rows.
        """
        node = schema.node.c
        heard = node.last_contact_ms.is_not(None) & (node.held_reason == "") | node.awaited_since_ms.is_not(None)
        sooner = func.coalesce(node.lease_until_ms, 0) < horizon_ms
        self._update(schema.node, heard, node.retired_at_ms.is_(None), sooner, lease_until_ms=horizon_ms)

    def quarantine(self, node_id: str, kind: str, reason: str) -> None:
        """Note that a report of the node was put aside, and why; the same reason again is counted.

        A node can give any number of reasons: those beyond `_MAX_REASONS` are counted as one.
        """
        table = schema.quarantined_report
        kind, reason = kind[:32], reason[:400]
        mine, now = {"node_id": node_id, "kind": kind, "reason": reason}, self._now_ms
        if self._update(table, *equal(table, **mine), last_at_ms=now, count=table.c.count + 1):
            return
        if reason != _MORE and len(self.quarantined(node_id)) >= _MAX_REASONS:
            self.quarantine(node_id, "", _MORE)
            return
        self._insert(table, **mine, first_at_ms=now, last_at_ms=now, count=1)

    def quarantined(self, node_id: str) -> Sequence[QuarantinedReportRow]:
        """Return the reports of the node that were put aside, the latest first."""
        table = schema.quarantined_report
        query = select(table).where(table.c.node_id == node_id).order_by(table.c.last_at_ms.desc())
        return self._rows(QuarantinedReportRow, query)

    def quarantined_counts(self, node_ids: Iterable[str]) -> Mapping[str, int]:
        """Return how many reports of nodes were put aside; without those that had none."""
        table = schema.quarantined_report
        query = select(table.c.node_id, func.sum(table.c.count).label("reports")).group_by(table.c.node_id)
        return {row.node_id: int(row.reports) for row in self._run(query.where(table.c.node_id.in_(list(node_ids))))}

    def accept_receipt(self, node_id: str, counter: int, receipt_hash: bytes) -> None:
        """Move the node's receipt chain on; `ConflictError` if the counter does not increase."""
        current = self.get(node_id).receipt_counter
        if counter <= current:
            raise ConflictError(f"receipt counter {counter} of {node_id} is not above the last one, {current}")
        self._set(node_id, receipt_counter=counter, last_receipt_hash=receipt_hash)

    def rewind_receipts(self, node_id: str, counter: int, receipt_hash: bytes) -> None:
        """Go on from another receipt of the node: the last one in the backup that it was restored from."""
        self._set(node_id, receipt_counter=counter, last_receipt_hash=receipt_hash)

    def save_costs(self, costs: Sequence[NodeCostRow]) -> None:
        """Replace the cumulative costs of nodes, of the phases given."""
        table = schema.node_cost
        if costs:
            mine = (table.c.node_id == bindparam("of"), table.c.phase == bindparam("in", type_=table.c.phase.type))
            self._written(table)
            self._run(delete(table).where(*mine), [{"of": cost.node_id, "in": cost.phase} for cost in costs])
            self._insert_all(table, [vars(cost) for cost in costs])

    def costs(self, node_ids: Iterable[str]) -> Mapping[str, Sequence[NodeCostRow]]:
        """Return nodes' cumulative costs, each in the order of `EnergyPhase`."""
        wanted, table, order = list(node_ids), schema.node_cost, list(EnergyPhase)
        found: dict[str, dict[EnergyPhase, NodeCostRow]] = {node_id: {} for node_id in wanted}
        for row in self._rows(NodeCostRow, select(table).where(table.c.node_id.in_(wanted))):
            found[row.node_id][row.phase] = row
        for node_id, rows in found.items():
            rows |= {row.phase: row for row in self._scope.contacts.of(node_id).costs}
        return {
            node_id: sorted(rows.values(), key=lambda row: order.index(row.phase)) for node_id, rows in found.items()
        }

    def total_costs(self, *, include_retired: bool = False) -> Sequence[CostSumRow]:
        """Return the cumulative costs, as they are written, of all nodes."""
        there = select(schema.node.c.node_id).where(schema.node.c.retired_at_ms.is_(None))
        counted = () if include_retired else (schema.node_cost.c.node_id.in_(there),)
        return self._cost_sums(schema.node_cost, *counted)

    def energy_model(self) -> tuple[str, str] | None:
        """Return name and version of the model that the first node has, by id; None if none has one."""
        node = schema.node.c
        query = select(node.energy_model_name, node.energy_model_version)
        there = (node.energy_model_name != "", node.retired_at_ms.is_(None))
        row = self._run(query.where(*there).order_by(node.node_id).limit(1)).first()
        return None if row is None else (row.energy_model_name, row.energy_model_version)

    def _set(self, node_id: str, **values: Any) -> None:
        node = self.get(node_id)
        self._change(schema.node, {"node_id": node_id}, values)
        self._scope.read[schema.node.name][node_id] = replace(node, **values)


class AuditEvents(Repository):
    """Decisions about nodes, as they were signed; each is a leaf of the Merkle log as well."""

    def append(self, node_id: str, envelope: bytes) -> None:
        """Keep a serialised Envelope of an AuditEvent about a node."""
        self._insert(schema.audit_event, node_id=node_id, envelope=envelope)

    def of_node(self, node_id: str) -> Sequence[bytes]:
        """Return the envelopes about a node, oldest first."""
        table = schema.audit_event
        return self._column(select(table.c.envelope).where(table.c.node_id == node_id).order_by(table.c.event_id))
