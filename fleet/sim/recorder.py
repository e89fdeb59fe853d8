"""Recorder of a simulation: rows of its tables, and the digest of what must be equal in a repeated run."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from reram_fleet.v1.operator_pb2 import VerdictClass
from reram_fleet.v1.types_pb2 import DeploymentOverhead

from edge_node.engine import NodeEngine
from fleet.coordinator.unit import UnitOfWork
from fleet.coordinator.wire_enums import ENERGY_PHASE
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.domain.node import EnergyPhase
from fleet.sim.control_plane import ControlPlane
from fleet.sim.links import Traffic
from fleet.sim.members import Member
from fleet.sim.people import Person, Roll, Subjects
from fleet.store.rows import CampaignRow, LearningJobRow
from hwmodel import Cost, Phase

Row = dict[str, Any]

TABLES = ("state", "forgets", "answers", "nodes", "rounds", "events", "phases")
#: Nodes that are asked whom they know, at each look.
NODES_ASKED, PEOPLE_ASKED = 8, 25


class Recorder:
    """Rows of a simulation's tables."""

    def __init__(
        self,
        plane: ControlPlane,
        members: Mapping[int, Member],
        subjects: Subjects,
        roll: Roll,
        traffic: Traffic,
        *,
        ages: bool,
    ) -> None:
        self._plane, self._members, self._subjects, self._roll = plane, members, subjects, roll
        #: Whether answers change by themselves.
        self._traffic, self._ages = traffic, ages
        self.tables: dict[str, list[Row]] = {name: [] for name in TABLES}
        #: When (virtual s of the scheduler) the scenario began.
        self.begun_s = 0.0
        self._overhead = {"overhead_j": 0.0, "reprogramming_j": 0.0}
        self._asked_at: tuple[object, ...] = ()
        self._ordered_s: dict[int, float] = {}
        self._trained = Cost()
        self._wall_s: defaultdict[str, float] = defaultdict(float)

    # As it happens

    def event(self, now_s: float, kind: str, node: str, what: str) -> None:
        """Note what is worth a line."""
        self.tables["events"].append({"t_s": now_s - self.begun_s, "kind": kind, "node": node, "what": what})

    def deployed(self, overhead: DeploymentOverhead) -> None:
        """Note what a chip spent on making a revision active, and what it would have on analogue weights.

        Without the radio, which both take, and which is thousands of times as much.
        """
        self._overhead["overhead_j"] += overhead.energy_j - overhead.radio_energy_j
        self._overhead["reprogramming_j"] += overhead.reprogramming_energy_j - overhead.radio_energy_j

    def round_done(
        self, now_s: float, job: LearningJobRow, number: int, metrics: Mapping[str, float], nodes: int
    ) -> None:
        """Add a row of a learning round; its joules and seconds are those of all training since the last row."""
        engines = {id(member.engine): member.engine for member in self._members.values()}.values()
        trained = sum((engine.ledger.fleet_totals()[Phase.TRAIN] for engine in engines), start=Cost())
        before, self._trained = self._trained, trained
        self.tables["rounds"].append(
            {
                "t_s": now_s - self.begun_s,
                "job": job.job_id,
                "kind": job.kind.value,
                "round": number,
                "nodes": nodes,
                "joules": trained.energy_j - before.energy_j,
                "node_seconds": trained.seconds - before.seconds,
                "loss_before": metrics.get("loss_before"),
                "loss_after": metrics.get("loss_after"),
                "accuracy": metrics.get("accuracy_after"),
                "accept_rate": metrics.get("accept_rate_after"),
            }
        )

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time on the wall to a phase of the run."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._wall_s[name] += time.perf_counter() - begun
            self.tables["phases"] = [{"phase": key, "seconds": value} for key, value in self._wall_s.items()]

    # At each look

    def look(self, now_s: float) -> None:
        """Add a row of the fleet's state, and of what nodes answer if that may have changed."""
        present = [member for member in self._members.values() if not member.retired]
        generation = self._plane.env.generation
        engines = {id(member.engine): member.engine for member in present}.values()
        spent, worn = [engine.ledger.fleet_totals() for engine in engines], _wear(engines)
        connected = sum(member.connected for member in present)
        serving = sum(member.serving for member in present)
        self.tables["state"].append(
            {
                "t_s": now_s - self.begun_s,
                "nodes": len(present),
                "connected": connected,
                "serving": serving,
                "quarantined": sum(member.runs for member in present) - serving,
                "held": sum(member.node_id in self._plane.env.held for member in present),
                "behind": sum(member.generation < generation for member in present),
                "serving_behind": sum(member.serving and member.generation < generation for member in present),
                "generation": generation,
                "people": len(self._roll.enrolled),
                "forgets_open": self._plane.read(lambda unit: len(unit.tx.forgets.list_open())),
                "messages": self._traffic.messages,
                "messages_lost": self._traffic.lost,
                "bytes": self._traffic.bytes,
                "heartbeats": sum(member.heartbeats for member in self._members.values()),
                **{f"joules_{phase.value}": sum(each[phase].energy_j for each in spent) for phase in Phase},
                "cell_writes": sum(cost.cell_writes for each in spent for cost in each.values()),
                "wear_max": float(worn.max(initial=0.0)),
                "wear_mean": float(worn.mean()) if len(worn) else 0.0,
                "calibrations": sum(int(engine.calibrations.sum()) for engine in engines),
                **self._overhead,
            }
        )
        active = [
            (member.generation, member.serving, member.engine.active_tags(member.node_index)) for member in present
        ]
        changed = (generation, len(self._roll.enrolled), *active)
        if changed != self._asked_at or self._ages:
            self._asked_at = changed
            self._answers(now_s, present)

    def _answers(self, now_s: float, present: Sequence[Member]) -> None:
        """Ask some nodes for people who are enrolled there, people who were forgotten, and strangers."""
        known = right = forgotten = accepted_forgotten = strangers = accepted_strangers = 0
        for member in [member for member in present if member.serving][:NODES_ASKED]:
            active = set(member.engine.active_tags(member.node_index))
            for person in self._chosen(active):
                answers = member.ask(self._subjects.asked(person.number))
                if person.forgotten:
                    forgotten += len(answers)
                    accepted_forgotten += sum(tag == person.tag for tag in answers)
                else:
                    known += len(answers)
                    right += sum(tag == person.tag for tag in answers)
            answers = member.ask(self._subjects.strangers())
            strangers += len(answers)
            accepted_strangers += sum(bool(tag) for tag in answers)
        if not known + forgotten + strangers:
            return
        self.tables["answers"].append(
            {
                "t_s": now_s - self.begun_s,
                "asked": known + forgotten + strangers,
                "enrolled_accuracy": right / known if known else None,
                "accepted_forgotten": accepted_forgotten / forgotten if forgotten else None,
                "accepted_strangers": accepted_strangers / strangers if strangers else None,
            }
        )

    def _chosen(self, active: Collection[str]) -> list[Person]:
        there = [person for person in self._roll.people if person.tag in active and not person.forgotten]
        gone = [person for person in self._roll.people if person.forgotten]
        return there[:PEOPLE_ASKED] + gone[-PEOPLE_ASKED:]

    # At each checkpoint, and at the end

    def ordered(self, generation: int, now_s: float) -> None:
        """Note when a forget was ordered."""
        self._ordered_s[generation] = now_s

    def forgets(self) -> None:
        """Write the table of forgets anew; of what has converged, and every node has suppressed, the row stays."""
        done = {
            row["generation"]: row
            for row in self.tables["forgets"]
            if row["state"] == CampaignState.CONVERGED and row["suppressed_last_s"] is not None
        }

        def rows(unit: UnitOfWork) -> list[Row]:
            return [
                done[campaign.generation]
                if campaign.generation in done and campaign.state is CampaignState.CONVERGED
                else self._forget(unit, campaign)
                for campaign in unit.tx.forgets.list()
            ]

        self.tables["forgets"] = sorted(self._plane.read(rows), key=lambda row: row["generation"])

    def _forget(self, unit: UnitOfWork, campaign: CampaignRow) -> Row:
        shown, ordered_s = unit.views.forget(campaign), self._ordered_s[campaign.generation]
        counts = {each.state: each.nodes for each in shown.counts}
        there = [each for each in self._members.values() if not each.retired and each.since_s <= ordered_s]
        times = sorted(each.suppressed_s.get(campaign.generation, math.inf) - ordered_s for each in there) or [math.inf]
        verdicts = {VerdictClass.Name(each.verdict).removeprefix("VERDICT_CLASS_") for each in shown.verdicts}
        joules = {ENERGY_PHASE.words[each.phase]: each.energy_j for each in shown.costs}
        return {
            "generation": campaign.generation,
            "created_s": ordered_s - self.begun_s,
            "state": campaign.state.value,
            "suppressed_p50_s": _finite(times[len(times) // 2]),
            "suppressed_p99_s": _finite(times[int(len(times) * 0.99)]),
            "suppressed_last_s": _finite(times[-1]),
            "converged_s": campaign.seconds_to_verify,
            **{state.value: counts.get(state.value, 0) for state in ExecutionState},
            "verdict": " ".join(sorted(verdicts)),
            "joules": sum(joules.values()),
            **{f"joules_{phase.value}": joules.get(EnergyPhase(phase.value), 0.0) for phase in Phase},
            "bytes": sum(each.bytes for each in shown.costs),
            "cell_writes": shown.reram_writes,
        }

    def nodes(self) -> None:
        """Write the table of nodes anew."""
        self.tables["nodes"] = [self._node(member) for _, member in sorted(self._members.items())]

    def _node(self, member: Member) -> Row:
        journal, ledger = member.node.node.context.journal, member.engine.ledger
        active, position = journal.active_revision(), journal.position()
        spent = ledger.totals(member.node_index)
        return {
            "node_id": member.node_id,
            "generation": position.generation,
            "revision": active.revision if active else 0,
            "serving": member.serving,
            "retired": member.retired,
            "held": not member.retired and member.node_id in self._plane.env.held,
            **{f"joules_{phase.value}": spent[phase].energy_j for phase in Phase},
            "bytes": sum(cost.bytes for cost in spent.values()),
            "cell_writes": sum(cost.cell_writes for cost in spent.values()),
            "wear": float(member.engine.wear[member.node_index]),
            "restarts": member.restarts,
            "heartbeats": member.heartbeats,
            "subjects": len(member.engine.active_tags(member.node_index)),
            "receipts": position.receipt_counter,
            "digest": member.node.node.adapters_digest().hex(),
        }

    def digest(self) -> str:
        """Return the SHA-256 over the integers and verdicts that a repeated run has too; joules are floats."""
        self.forgets()
        self.nodes()
        whole = {
            "log": self._plane.read(lambda unit: [unit.tx.tree.size(), unit.tx.tree.root().hex()]),
            "nodes": [[row[name] for name in _OF_NODE] for row in self.tables["nodes"]],
            "forgets": [[row[name] for name in _OF_FORGET] for row in self.tables["forgets"]],
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


_OF_NODE = ("node_id", "generation", "revision", "serving", "retired", "held", "bytes", "cell_writes", "digest")
_OF_FORGET = ("generation", "state", "verdict", *(state.value for state in ExecutionState), "bytes", "cell_writes")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _wear(engines: Collection[NodeEngine]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(engine.wear.numpy() for engine in engines)])
