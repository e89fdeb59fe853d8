"""Ten people forgotten one after the other, exactly: what it takes, and that nothing of them is left.

A forget of the closed-form head: each node that met the person computes their statistics from the captured
codes and sends them; the coordinator takes them from its books and solves again. A forget of a subject
adapter: it is dropped. Every time the result is compared, integer by integer, with a fleet that never
enrolled the person.
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
from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.packing import unpack_statistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import total
from fleet.lab.fleets.face_fleet import NODES, PRESET, FaceFleet
from fleet.lab.fleets.running import print_runs
from hwmodel import Cost, Preset, cost, keyed_uint16, load_preset
from tests.bench.workloads.faces import install

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
    """What one forget, or one training from scratch, takes.

    Attributes
    ----------
    node_cpu_s
        CPU seconds of the node that works most: dropping the subject adapter, and statistics if it met them.
    coordinator_cpu_s
        CPU seconds of unpacking, adding or subtracting, and solving.
    sent_bytes
        By all nodes together.
    energy_j
        Of all nodes together by the chip's cost model: arithmetic, memory and radio, sending and receiving.
    radio_j
        Of that, for the radio.
    """

    node_cpu_s: float
    coordinator_cpu_s: float
    sent_bytes: int
    energy_j: float
    radio_j: float


@dataclass(frozen=True)
class ForgetLine:
    """One forget of the sequence.

    Attributes
    ----------
    nodes
        How many nodes had met the person.
    books_exact, head_exact, subjects_exact
        Whether the coordinator's integers, the solved head with its threshold, and the subject adapters of
        every node are bitwise those of a fleet that never enrolled the person.
    forget, retrain
        Costs of the forget, and of training everybody who is left from captured codes.
    """

    nodes: int
    books_exact: bool
    head_exact: bool
    subjects_exact: bool
    forget: Spent
    retrain: Spent


@dataclass(frozen=True)
class ForgetsRun:
    """A sequence of forgets on one fleet."""

    lines: tuple[ForgetLine, ...]


def run(seed: int, forgets: int = FORGETS, nodes: int = NODES) -> ForgetsRun:
    """Forget people of one seed's fleet in a random order."""
    fleet, preset = FaceFleet.of(seed, nodes=nodes, layout=FINE), load_preset(PRESET)
    fleet.activate()
    books = fleet.books()
    lines = []
    order = forget_order(seed, fleet.enrolled)
    for k, name in enumerate(order[:forgets]):
        kept = sorted(order[k + 1 :])
        books, head_digest, spent = forget(fleet, books, name, preset)
        reference, retrained = retrain(fleet, kept, preset)
        never = [adapter.SerializeToString(deterministic=True) for adapter in fleet.subject_adapters(kept)]
        lines.append(
            ForgetLine(
                nodes=len(fleet.places[name]),
                books_exact=books.equals(reference) and books.digest() == reference.digest(),
                head_exact=head_digest == reference.build().digest(),
                subjects_exact=all(
                    [a.SerializeToString(deterministic=True) for a in fleet.engine.active_subjects(node)] == never
                    for node in range(len(fleet.engine.node_ids))
                ),
                forget=spent,
                retrain=retrained,
            )
        )
    return ForgetsRun(tuple(lines))


def forget_order(seed: int, names: Sequence[str]) -> list[str]:
    """Return the names in the order in which a seed forgets them."""
    draws = keyed_uint16(seed, "faces.forgets", count=len(names)).numpy()
    return [names[i] for i in np.argsort(draws, kind="stable")]


def forget(
    fleet: FaceFleet, books: SufficientStatistics, name: str, preset: Preset
) -> tuple[SufficientStatistics, str, Spent]:
    """Forget a person everywhere; return the books after it, the new head's digest, and what it took."""
    packed, node_s, spent = [], [], Cost()
    captured = fleet.captured(name)
    for node in range(len(fleet.engine.node_ids)):
        mark = fleet.engine.ledger.mark()
        started = time.process_time()
        fleet.engine.drop_subjects(node, [name])
        if node in captured:
            packed.append(packed_statistics(captured[node]))
        node_s.append(time.process_time() - started)
        spent += sum(fleet.engine.ledger.since(mark, node).values(), start=Cost())
        if node in captured:
            codes = captured[node]
            spent += share_cost(preset, *codes.shape) + cost.erase(preset, codes.nbytes)
    started = time.process_time()
    statistics = total([unpack_statistics(part) for part in packed], books.public.features)
    after = books.without(name, statistics)
    head = after.build()
    coordinator_s = time.process_time() - started
    sent = sum(map(len, packed))
    return (after, head.digest(), _spent(fleet, preset, spent, max(node_s), coordinator_s, sent, head.codes.nbytes))


def retrain(fleet: FaceFleet, kept: Sequence[str], preset: Preset) -> tuple[SufficientStatistics, Spent]:
    """Train a head for these people alone, from captured codes; return its books and what it took."""
    packed, node_s, spent = [], [], Cost()
    for codes in fleet.captured_by_node(kept).values():
        started = time.process_time()
        packed.append(packed_statistics(codes))
        node_s.append(time.process_time() - started)
        spent += share_cost(preset, *codes.shape)
    started = time.process_time()
    for part in packed:
        unpack_statistics(part)
    unpacking_s = time.process_time() - started
    shares = [fleet.share(node, kept) for node in range(len(fleet.engine.node_ids))]
    public = PublicCodes(fleet.public.codes, fleet.public.person)
    started = time.process_time()
    books = SufficientStatistics.empty(public)
    for share in shares:
        books = books if share is None else books.with_share(share)
    head = books.build()
    coordinator_s = unpacking_s + time.process_time() - started
    sent = sum(map(len, packed)) + len(fleet.engine.node_ids) * public.wire_bytes
    return books, _spent(fleet, preset, spent, max(node_s), coordinator_s, sent, head.codes.nbytes)


def _spent(
    fleet: FaceFleet, preset: Preset, local: Cost, node_s: float, coordinator_s: float, sent: int, head_bytes: int
) -> Spent:
    """Add what sending the shares, and receiving and storing the new head on every node costs."""
    nodes = len(fleet.engine.node_ids)
    radio = cost.radio(preset, sent + nodes * head_bytes)
    stored = cost.sram_write(preset, nodes * head_bytes)
    together = local + radio + stored
    return Spent(node_s, coordinator_s, sent, together.energy_j, radio.energy_j)


def digest_after_a_forget(seed: int) -> str:
    """Return the head's digest after the first forget of a seed, everything computed anew."""
    fleet = FaceFleet.of(seed, layout=FINE)
    first = forget_order(seed, fleet.enrolled)[0]
    head = forget(fleet, fleet.books(), first, load_preset(PRESET))[1]
    installed = install(fleet.books([name for name in fleet.enrolled if name != first]).build(), fleet)
    return f"{head} {installed.digest()}"


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


if __name__ == "__main__":
    raise SystemExit(print_runs(run, SEEDS))
