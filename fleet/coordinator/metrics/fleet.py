"""Metrics of a fleet as a whole: bounded, however many nodes it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.core import Coordinator
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.domain.learning import JobState
from fleet.domain.node import EnergyPhase, ServeState
from fleet.domain.tallies import ALL, SUM, ReceiptOutcome, Refusal, Tally, cumulative
from fleet.store.database import Transaction
from fleet.store.rows import CostSumRow, NodeFactsRow

#: Beside the serve states that nodes report.
LOST, AWAITED = "lost", "awaiting_reconnect"
NODE_STATES = (*ServeState, LOST, AWAITED)
#: Energy is never measured: it is what a model says of what was done (Kepler's word for its own estimates).
MODELLED = "modelled"
#: A forget that is open longer is overdue (GDPR, Article 12(3): a month).
OVERDUE_S = 30 * 86400.0
#: Energy models that are named: nodes say what theirs is called.
_MOST_MODELS = 16
RATIOS = {
    types.PAPER_RATIO_TRAINING: "training",
    types.PAPER_RATIO_DEPLOYMENT: "deployment",
    types.PAPER_RATIO_INFERENCE: "inference",
}
BOUNDS = ("low", "value", "high")


def state_of(node: NodeFactsRow, reported: ServeState | None) -> str:
    """Return the state that a node counts in; `reported` is what it says on its stream, None if it has none."""
    if node.awaited_since_ms is not None:
        return AWAITED
    if reported is not None:
        return reported
    # Whatever it said last.
    return LOST if node.last_contact_ms else ServeState.UNSPECIFIED


@dataclass(frozen=True)
class FleetFacts:
    """Facts about the fleet, read in one snapshot."""

    now_ms: int = 0
    fleet_id: str = ""
    generation: int = 0
    desired_revision: int = 0
    head_people: int = 0
    head_error: str = ""
    masked_concepts: int = 0
    tree_size: int = 0
    nodes: Sequence[NodeFactsRow] = ()
    retired: int = 0
    campaigns: Mapping[CampaignState, int] = field(default_factory=dict)
    executions: Mapping[ExecutionState, int] = field(default_factory=dict)
    #: When (Unix ms) each forget that is open was committed.
    open_since_ms: Sequence[int] = ()
    jobs: Mapping[JobState, int] = field(default_factory=dict)
    costs: Sequence[CostSumRow] = ()
    tallies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, tx: Transaction) -> FleetFacts:
        """Read them."""
        fleet = tx.fleet.get()
        noted, desired = tx.heads.note_of(fleet.desired_revision), tx.revisions.find(fleet.desired_revision)
        return cls(
            now_ms=tx.now_ms,
            fleet_id=fleet.fleet_id,
            generation=fleet.generation,
            desired_revision=fleet.desired_revision,
            head_people=len(tx.heads.tags_of(fleet.desired_revision)) if noted is not None else 0,
            head_error=noted.error if noted is not None else "",
            masked_concepts=_masked_concepts(desired.manifest) if desired is not None else 0,
            tree_size=tx.tree.size(),
            nodes=tx.nodes.facts(),
            retired=tx.nodes.count(retired=True),
            campaigns=tx.forgets.by_state(),
            executions=tx.forgets.counts(),
            open_since_ms=[campaign.created_at_ms for campaign in tx.forgets.list_open()],
            jobs=tx.learning.by_state(),
            costs=tx.nodes.total_costs(include_retired=True),
            tallies=tx.tallies.all(),
        )


def _masked_concepts(manifest: bytes) -> int:
    return len(types.RevisionManifest.FromString(types.Envelope.FromString(manifest).payload).concepts)


class FleetCollector(Collector):
    """Reads one snapshot of the store for each scrape."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def describe(self) -> Iterator[Metric]:
        """Return every family, of a fleet of nobody."""
        return self._families(FleetFacts())

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        return self._families(self._coordinator.database.read_now(FleetFacts.read))

    def _families(self, facts: FleetFacts) -> Iterator[Metric]:
        build = {"version": version("reram-fleet"), "fleet_id": facts.fleet_id}
        yield InfoMetricFamily("fleet_build", "Version of the coordinator, and whose it is.", build)
        yield CounterMetricFamily(
            "fleet_coordinator_starts", "Starts of the coordinator.", facts.tallies.get(Tally.STARTS, {}).get(ALL, 0)
        )
        silent = "Time since the reconcile loop last looked."
        yield GaugeMetricFamily("fleet_reconcile_age_seconds", silent, self._coordinator.silent_s())
        yield from self._revision(facts)
        yield from self._nodes(facts)
        yield from _forgets(facts)
        yield from _reports(facts)
        yield from _energy(facts)
        yield from _deployment(facts)
        yield from _chips(facts)
        yield _by(
            "fleet_learning_jobs", "Learning jobs by state.", "state", {s: facts.jobs.get(s, 0) for s in JobState}
        )

    @staticmethod
    def _revision(facts: FleetFacts) -> Iterator[Metric]:
        gauge = GaugeMetricFamily
        yield gauge("fleet_forget_generation", "Newest entry of the forget log.", facts.generation)
        yield gauge("fleet_desired_revision", "Revision that nodes are to run.", facts.desired_revision)
        yield gauge("fleet_head_people", "People in the closed-form head.", facts.head_people)
        masked = "Concepts of the backbone that an eraser of this revision masks."
        yield gauge("fleet_masked_concepts", masked, facts.masked_concepts)
        unsolved = "1 if the closed-form head could not be solved, and nodes do without."
        yield gauge("fleet_head_unsolved", unsolved, float(bool(facts.head_error)))
        yield gauge("fleet_log_tree_size", "Leaves of the Merkle log.", facts.tree_size)

    def _nodes(self, facts: FleetFacts) -> Iterator[Metric]:
        sessions = self._coordinator.env.sessions
        connected = sessions.connected()
        states = Counter(
            state_of(node, sessions.of(node.node_id).serves[0] if node.node_id in connected else None)
            for node in facts.nodes
        )
        yield _by(
            "fleet_nodes",
            "Enrolled nodes by state; lost: out of contact, whatever they said last; awaiting_reconnect: not heard "
            "since the coordinator was restored; unspecified: nothing said yet.",
            "state",
            {state: states[state] for state in NODE_STATES},
        )
        behind = [facts.generation - node.generation for node in facts.nodes if node.generation < facts.generation]
        leased = [node for node in facts.nodes if (node.lease_until_ms or 0) > facts.now_ms]
        gauge = GaugeMetricFamily
        yield gauge("fleet_nodes_connected", "Nodes with an open stream.", len(connected))
        yield gauge("fleet_nodes_held", "Nodes that are held: an operator must decide.", _held(facts.nodes))
        yield gauge("fleet_nodes_retired", "Nodes that have left the fleet.", facts.retired)
        yield gauge("fleet_nodes_behind", "Nodes that have not suppressed the whole forget log.", len(behind))
        yield gauge("fleet_generation_lag_max", "Entries of the log that the last node lacks.", max(behind, default=0))
        yield gauge(
            "fleet_nodes_behind_leased",
            "Nodes behind the log whose lease lasts: until then they may serve somebody who was forgotten.",
            sum(node.generation < facts.generation for node in leased),
        )
        yield gauge(
            "fleet_lease_remaining_seconds_max",
            "Time after which every node out of contact has stopped serving adapters.",
            max(((node.lease_until_ms or 0) - facts.now_ms for node in leased), default=0) / 1000,
        )
        streams = facts.tallies.get(Tally.STREAMS, {}).get(ALL, 0)
        yield CounterMetricFamily("fleet_node_streams", "Streams that nodes have opened: a restart opens one.", streams)


def _held(nodes: Iterable[NodeFactsRow]) -> int:
    return sum(bool(node.held_reason) for node in nodes)


def _forgets(facts: FleetFacts) -> Iterator[Metric]:
    yield _by("fleet_forgets", "Forgets by state.", "state", {s: facts.campaigns.get(s, 0) for s in CampaignState})
    yield _by(
        "fleet_forget_executions",
        "Forgets on nodes, by state.",
        "state",
        {state: facts.executions.get(state, 0) for state in ExecutionState},
    )
    ages_s = [(facts.now_ms - since_ms) / 1000 for since_ms in facts.open_since_ms]
    gauge = GaugeMetricFamily
    oldest = "Age of the oldest forget that has not converged."
    yield gauge("fleet_forget_oldest_unverified_age_seconds", oldest, max(ages_s, default=0.0))
    overdue = sum(age_s > OVERDUE_S for age_s in ages_s)
    yield gauge("fleet_forget_overdue", "Forgets that have been open for more than 30 days.", overdue)
    for name, text, tally in (
        ("suppress", "From a forget's commit until a node has suppressed it.", Tally.SUPPRESS_SECONDS),
        ("verify", "From a forget's commit until a node's receipt is accepted.", Tally.VERIFY_SECONDS),
    ):
        counts = dict(facts.tallies.get(tally, {}))
        total_s = counts.pop(SUM, 0.0)
        yield HistogramMetricFamily(f"fleet_forget_{name}_duration_seconds", text, cumulative(counts), total_s)
    for name, text, tally in (
        ("fleet_forget_energy_joules", "Energy of forgets, as accepted receipts say.", Tally.FORGET_JOULES),
        ("fleet_forget_reram_cell_writes", "ReRAM cells written by forgets: none.", Tally.FORGET_CELL_WRITES),
    ):
        yield _phases(name, text, facts.tallies.get(tally, {}), modelled=name.endswith("joules"))


def _reports(facts: FleetFacts) -> Iterator[Metric]:
    for name, text, label, tally, values in (
        ("fleet_receipts", "Receipts of nodes, by verdict.", "verdict", Tally.RECEIPTS, ReceiptOutcome),
        ("fleet_refused_reports", "Reports of nodes that were not acted upon.", "kind", Tally.REFUSED_REPORTS, Refusal),
    ):
        counts = facts.tallies.get(tally, {})
        family = CounterMetricFamily(name, text, labels=[label])
        for value in values:
            family.add_metric([value], counts.get(value, 0))
        yield family


def _energy(facts: FleetFacts) -> Iterator[Metric]:
    for name, text, column in (
        ("fleet_energy_joules", "Energy of all nodes since they were made, by the energy model.", "energy_j"),
        ("fleet_busy_seconds", "Time of all nodes since they were made, by the energy model.", "seconds"),
        ("fleet_moved_bytes", "Bytes moved by all nodes since they were made.", "bytes"),
        ("fleet_reram_cell_writes", "ReRAM cells written on all nodes since they were made.", "cell_writes"),
    ):
        spent: dict[str, float] = {cost.phase: float(getattr(cost, column)) for cost in facts.costs}
        yield _phases(name, text, spent, modelled=name.endswith("joules"))
    models = Counter((node.energy_model_name, node.energy_model_version) for node in facts.nodes)
    family = GaugeMetricFamily("fleet_energy_model_nodes", "Nodes by energy model.", labels=["name", "version"])
    for (name, model_version), count in models.most_common(_MOST_MODELS):
        if name:
            family.add_metric([name, model_version], count)
    yield family


def _deployment(facts: FleetFacts) -> Iterator[Metric]:
    """Return what it took to make the active revisions active, over all nodes."""
    total = types.DeploymentOverhead()
    # A ratio of sums has what it is made of beside it: `reprogramming_ratio` is of the chip alone.
    chip_j = 0.0
    for node in facts.nodes:
        if node.overhead:
            one = types.DeploymentOverhead.FromString(node.overhead)
            for name in ("energy_j", "seconds", "bytes", "cell_writes", "radio_energy_j", *_REPROGRAMMING):
                setattr(total, name, getattr(total, name) + getattr(one, name))
            chip_j += one.reprogramming_ratio * (one.energy_j - one.radio_energy_j)
    gauge = GaugeMetricFamily
    what = "to make the active revision active, over all nodes"
    yield gauge("fleet_deployment_overhead_joules", f"Energy {what}, with the radio.", total.energy_j)
    yield gauge("fleet_deployment_overhead_radio_joules", f"Energy of the radio {what}.", total.radio_energy_j)
    yield gauge("fleet_deployment_overhead_seconds", f"Time {what}.", total.seconds)
    yield gauge("fleet_deployment_overhead_bytes", f"Bytes received {what}.", total.bytes)
    yield gauge("fleet_deployment_overhead_cell_writes", f"ReRAM cells written {what}.", total.cell_writes)
    what = "re-programming the same changes into analogue weights would take"
    yield gauge("fleet_deployment_reprogramming_joules", f"Energy that {what}.", total.reprogramming_energy_j)
    yield gauge("fleet_deployment_reprogramming_seconds", f"Time that {what}.", total.reprogramming_seconds)
    yield gauge("fleet_deployment_reprogramming_cell_writes", f"Writes that {what}.", total.reprogramming_cell_writes)
    on_chip_j = total.energy_j - total.radio_energy_j
    yield _by(
        "fleet_deployment_overhead_ratio",
        "Energy of re-programming the same changes into analogue weights, over the overhead; chip: both without radio.",
        "scope",
        {
            "chip": chip_j / on_chip_j if on_chip_j > 0 else 0.0,
            "with_radio": total.reprogramming_energy_j / total.energy_j if total.energy_j > 0 else 0.0,
        },
    )


_REPROGRAMMING = ("reprogramming_energy_j", "reprogramming_seconds", "reprogramming_cell_writes")


def _chips(facts: FleetFacts) -> Iterator[Metric]:
    """Return what nodes say of their chips: medians, which no single node moves."""
    said = [types.ChipFigures.FromString(node.chip) for node in facts.nodes if node.chip]
    left = [chip.endurance_left for chip in said]
    lowest = "Share of its cells' endurance that the most worn chip has left; 1 if no node has said."
    yield GaugeMetricFamily("fleet_endurance_left_ratio_min", lowest, min(left, default=1.0))
    family = GaugeMetricFamily(
        "fleet_paper_ratio",
        "The paper's three ratios for the network that the nodes run: median of the nodes; low and high: 5th and 95th "
        "percentile over the ranges of the energy model's constants.",
        labels=["ratio", "bound"],
    )
    for ratio, name in RATIOS.items():
        bands = [band for chip in said for band in chip.ratios if band.ratio == ratio]
        for bound in BOUNDS:
            if bands:
                family.add_metric([name, bound], median(getattr(band, bound) for band in bands))
    yield family


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _phases(name: str, text: str, values: Mapping[str, float], *, modelled: bool) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["phase", "source"] if modelled else ["phase"])
    for phase in EnergyPhase:
        family.add_metric([phase, MODELLED] if modelled else [phase], values.get(phase, 0))
    return family
