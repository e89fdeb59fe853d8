"""Ten people forgotten one after the other, exactly: what it takes, and that nothing of them is left.

A forget of the closed-form head: the person's packed statistics are left out, and the coordinator's solver solves again
for the others. Nodes send nothing. A forget of a subject adapter: it is dropped.
Every time the result is compared, integer by integer, with a fleet that never enrolled the person.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.backbones.filters import FINE
from edge_node.recognition.head_share import packed_statistics, share_cost
from fleet.heads.enrolment import FleetHead, SufficientStatistics
from fleet.heads.public import PublicCodes
from fleet.lab.fleets.captured_fleet import PRESET, CapturedFleet
from hwmodel import Cost, cost, keyed_uint16, load_preset
from tests.bench.workloads.face_fleet import NODES, face_fleet

SEEDS = (200, 201, 202, 203, 204)
FORGETS = 10

#: Environments whose arithmetic differs: kernels of OpenBLAS, of torch and of MKL, numbers of threads.
ENVIRONMENTS: tuple[Mapping[str, str], ...] = (
    {"OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default"},
    {"OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE"},
    {"OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"},
    {"OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "2"},
    {"OPENBLAS_CORETYPE": "SkylakeX", "OMP_NUM_THREADS": "2"},
)


@dataclass(frozen=True)
class Spent:
    """Seconds, bytes and joules of one forget, or of one training from scratch."""

    #: Of the node that works most: dropping the subject adapter; computing and packing statistics to train.
    node_cpu_s: float
    #: Opening and adding packed statistics, and solving.
    coordinator_cpu_s: float
    #: Of all nodes together; joules by the chip's cost model: arithmetic, memory and radio, sending and receiving.
    sent_bytes: int
    energy_j: float


@dataclass(frozen=True)
class ForgetLine:
    """One forget of the sequence, of a person whom so many nodes had met."""

    nodes: int
    #: Whether the coordinator's integers, the solved head with its threshold, and the subject adapters of every node
    #: are bitwise those of a fleet that never enrolled the person.
    exact: bool
    forget: Spent
    #: Training everybody who is left from captured codes.
    retrain: Spent


def run(seed: int, forgets: int = FORGETS, nodes: int = NODES) -> tuple[ForgetLine, ...]:
    """Forget people of one seed's fleet in a random order."""
    fleet = face_fleet(seed, nodes=nodes, layout=FINE)
    fleet.activate()
    packed = list(fleet.packed())
    lines = []
    order = forget_order(seed, fleet.enrolled)
    for k, name in enumerate(order[:forgets]):
        kept = sorted(order[k + 1 :])
        packed = [(tag, part) for tag, part in packed if tag != name]
        statistics, head_digest, spent = forget(fleet, packed, name)
        reference, retrained = retrain(fleet, kept)
        never = [adapter.SerializeToString(deterministic=True) for adapter in fleet.subject_adapters(kept)]
        exact = statistics.equals(reference) and statistics.digest() == reference.digest()
        exact &= head_digest == reference.build().digest()
        for node in range(nodes):
            active = fleet.engine.active_subjects(node)
            exact &= [adapter.SerializeToString(deterministic=True) for adapter in active] == never
        lines.append(ForgetLine(len(fleet.places[name]), exact, spent, retrained))
    return tuple(lines)


def forget_order(seed: int, names: Sequence[str]) -> list[str]:
    """Return the names in the order in which a seed forgets them."""
    draws = keyed_uint16(seed, "faces.forgets", count=len(names)).numpy()
    return [names[i] for i in np.argsort(draws, kind="stable")]


def forget(
    fleet: CapturedFleet, packed: Sequence[tuple[str, bytes]], name: str
) -> tuple[SufficientStatistics, str, Spent]:
    """Forget a person everywhere; `packed` is what the others contributed, by tag.

    Return the statistics after it, the new head's digest, and what it took.
    """
    preset, engine, captured = load_preset(PRESET), fleet.engine, fleet.captured(name)
    node_s, spent = [], Cost()
    for node in range(len(engine.node_ids)):
        mark = engine.ledger.mark(node)
        started = time.process_time()
        engine.drop_subjects(node, [name])
        node_s.append(time.process_time() - started)
        spent += sum(engine.ledger.since(mark).values(), start=Cost())
        if node in captured:
            spent += cost.erase(preset, captured[node].nbytes)
    started = time.process_time()
    after = SufficientStatistics.of_packed(fleet.public, packed)
    head = after.build()
    coordinator_s = time.process_time() - started
    return after, head.digest(), _spent(fleet, spent, max(node_s), coordinator_s, 0, head)


def retrain(fleet: CapturedFleet, kept: Sequence[str]) -> tuple[SufficientStatistics, Spent]:
    """Train a head for these people alone, from captured codes; return their statistics and what it took."""
    packed: list[tuple[str, bytes]] = []
    node_s, spent, nodes = [], Cost(), len(fleet.engine.node_ids)
    for node in range(nodes):
        mine = {name: fleet.captured(name)[node] for name in kept if node in fleet.places[name]}
        started = time.process_time()
        packed += [(name, packed_statistics(codes)) for name, codes in mine.items()]
        node_s.append(time.process_time() - started)
        spent += sum((share_cost(load_preset(PRESET), *codes.shape) for codes in mine.values()), start=Cost())
    public = PublicCodes(fleet.public.codes, fleet.public.person)
    started = time.process_time()
    statistics = SufficientStatistics.of_packed(public, packed)
    head = statistics.build()
    coordinator_s = time.process_time() - started
    # Two bytes per public code if they fit, else four.
    width = 2 if int(np.abs(public.codes).max()) < 1 << 15 else 4
    sent = sum(len(part) for _, part in packed) + width * public.codes.size
    return statistics, _spent(fleet, spent, max(node_s), coordinator_s, sent, head)


def _spent(
    fleet: CapturedFleet, local: Cost, node_s: float, coordinator_s: float, sent_bytes: int, head: FleetHead
) -> Spent:
    """Add what sending statistics, and receiving and storing the new head on every node costs."""
    preset, received = load_preset(PRESET), len(fleet.engine.node_ids) * head.codes.nbytes
    together = local + cost.radio(preset, sent_bytes + received) + cost.sram_write(preset, received)
    return Spent(node_s, coordinator_s, sent_bytes, together.energy_j)


def digest_after_a_forget(seed: int) -> str:
    """Return the head's digest after the first forget of a seed, and in a fleet that never knew the person."""
    fleet = face_fleet(seed, layout=FINE)
    first = forget_order(seed, fleet.enrolled)[0]
    kept = [name for name in fleet.enrolled if name != first]
    head = forget(fleet, list(fleet.packed(kept)), first)[1]
    return f"{head} {fleet.statistics(kept).build().digest()}"


def environment_digests(seed: int) -> list[str]:
    """Return the digests of `digest_after_a_forget` in child processes, one for each of `ENVIRONMENTS`.

    Each line has two: after the forget, and of a fleet that never knew the person.
    """
    script = f"from {__spec__.name} import digest_after_a_forget as d; print(d({seed}))"
    return [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | environment | {"OPENBLAS_NUM_THREADS": environment["OMP_NUM_THREADS"]},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for environment in ENVIRONMENTS
    ]
