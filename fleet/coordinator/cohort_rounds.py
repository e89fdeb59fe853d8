"""What the Flower run of a cohort job asks: when it may begin, whom to ask, and what to log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fleet.coordinator.core import Coordinator
from fleet.domain.cohort import LoggedRound
from fleet.domain.learning import CohortPurpose
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow, NodeRow

#: A job waits this long for nodes that are connected but have not yet installed the people it is about ...
INSTALL_WAIT_MS = 30_000
#: ... and a replay this long for logged nodes that are out of reach; then it runs without them.
LOGGED_WAIT_MS = 60_000
#: Attempts that insist on every logged node that is reachable; later ones take more than half of them.
STRICT_ATTEMPTS = 2


def startable(coordinator: Coordinator, tx: Transaction, job: LearningJobRow, live: Sequence[NodeRow]) -> bool:
    """Whether a queued job of a shard may begin: one at a time, and with the nodes that it needs."""
    found = tx.cohorts.job(job.job_id)
    newest = tx.revisions.latest()
    if newest is None or newest.built_at_generation < tx.fleet.get().generation:
        return False
    ready = {node.node_id for node in live if node.revision >= found.min_revision}
    since = coordinator.waiting_since
    began_ms = since.setdefault((job.job_id, job.attempt, job.generation), tx.now_ms)
    if not ready or (len(ready) < len(live) and tx.now_ms - began_ms < INSTALL_WAIT_MS):
        return False
    if found.purpose is not CohortPurpose.TRAIN:
        # A replay is a chain of jobs: what was out of reach for its first is not awaited again.
        chain = f"shard-{found.shard}" if found.purpose is CohortPurpose.REPLAY else job.job_id
        began_ms = since.setdefault((chain, 0, job.generation), began_ms)
        history = tx.cohorts.get(found.shard).history
        needed = history.nodes_from(found.first_round + job.rounds_done, found.first_round + job.rounds)
        awaited = {n.node_id for n in tx.nodes.list() if not n.held_reason and n.retired_at_ms is None}
        if (needed & awaited) - ready and tx.now_ms - began_ms < LOGGED_WAIT_MS:
            return False
    return not tx.cohorts.one_is_running()


def quorum(tx: Transaction, job: LearningJobRow, live: Sequence[NodeRow]) -> int:
    """Return how many replies each round of an attempt needs."""
    found = tx.cohorts.job(job.job_id)
    if found.purpose is CohortPurpose.TRAIN:
        return len(live) // 2 + 1
    rounds = range(job.rounds_done + 1, job.rounds + 1)
    named = min((len(nodes_of_round(tx, job, number, live)) for number in rounds), default=1)
    strict = job.attempt - found.overtaken <= STRICT_ATTEMPTS
    return max(1, named if strict else named // 2 + 1)


def nodes_of_round(tx: Transaction, job: LearningJobRow, round_number: int, live: Sequence[NodeRow]) -> list[NodeRow]:
    """Return who is asked: nodes with the people's adapters; in a replay only those that are logged.

    If none of the logged ones is reachable, all are asked: the log will say what happened.
    """
    found = tx.cohorts.job(job.job_id)
    ready = [node for node in live if node.revision >= found.min_revision]
    if found.purpose is CohortPurpose.TRAIN:
        return ready
    log = tx.cohorts.get(found.shard).history.log
    logged = log[found.first_round + round_number - 1].nodes
    return [node for node in ready if node.node_id in logged] or ready


def note_inputs(tx: Transaction, job: LearningJobRow) -> None:
    """Note what the job's people have contributed as a round begins."""
    tx.cohorts.set_begun(job.job_id, _inputs(tx, job))


def log_round(
    coordinator: Coordinator, tx: Transaction, job: LearningJobRow, round_number: int, nodes: Sequence[str]
) -> None:
    """Note who took part in a round, in the transaction that keeps its state. A repeat changes nothing."""
    found = tx.cohorts.job(job.job_id)
    if round_number != len(found.log) + 1:
        return
    inputs = _inputs(tx, job)
    environments = {node: coordinator.sessions.of(node).environment for node in sorted(nodes)}
    entry = LoggedRound(environments, inputs if inputs == found.begun_inputs else "")
    tx.cohorts.log_job_round(job.job_id, [*found.log, entry])


def _inputs(tx: Transaction, job: LearningJobRow) -> str:
    lines = [f"{tag}/{node}/{sequence}" for tag, node, sequence in tx.subjects.sequences(job.tags)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
