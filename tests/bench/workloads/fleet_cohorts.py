"""The fleet's own LoRA on faces, in one shard and in four: its price, and one shard trained without a person.

These are the rounds that `fleet learn start --lora cohort` runs: `Engine.run_rounds` with tickets that name one
shard, Flower's average, integers between rounds. Transport is left out; this file averages and rounds. The closed
form alone, which every row starts from, stands beside: on healthy chips the LoRA adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reram_fleet.cohorts import shard_of
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, JobTicket, LoraShape, SharedLora

from edge_node.recognition.engine import RoundRequest
from fleet.coordinator.learning.lora_state import initial_state, installable
from fleet.lab.fleets.captured_fleet import CapturedFleet
from fleet.lab.verification.metrics import auc
from tests.bench.workloads.averaging import averaged
from tests.bench.workloads.face_fleet import NODES, face_fleet

#: Nothing was chosen on them.
SEEDS = (200, 201, 202, 203, 204)
SHARDS = 4
ROUNDS = 3
RANK, SCALE_BITS = 16, 16


@dataclass(frozen=True)
class FleetRates:
    """Shares over all nodes' views of the test photos: named rightly, and accepted at the public people's threshold."""

    accuracy: float
    known_accepted: float
    strangers_accepted: float
    #: Of the best scores, enrolled people's against strangers'.
    auroc: float


@dataclass(frozen=True)
class FleetCohortRun:
    """One split with its chips, without LoRA and with it."""

    closed_form: FleetRates
    one_shard: FleetRates
    four_shards: FleetRates
    #: Share of the shards, each trained again from nothing without its first person, that have the integers of a fleet
    #: in which the person never was, all other shards untouched. No checkpoint, log or coordinator takes part.
    exact: float
    #: Rows trained times rounds of a shard without the person over those of training all shards, mean.
    share_of_retrain: float


def run(seed: int, *, nodes: int = NODES, forgets: int = SHARDS) -> FleetCohortRun:
    """Measure the fleet's LoRA on the faces of one seed, and train so many shards again without their first person."""
    faces = face_fleet(seed, nodes=nodes)
    closed = _rates(faces, None)
    one = _rates(faces, _trained(faces, [faces.enrolled], seed))
    shards = [tuple(n for n in faces.enrolled if shard_of(n, seed, SHARDS) == shard) for shard in range(SHARDS)]
    sharded = _trained(faces, shards, seed)
    before, four = _rows(sharded), _rates(faces, sharded)
    homes = [people for people in shards if people][:forgets]
    exact, work = 0, 0
    for home in homes:
        # The first one's adapter and samples are gone; whoever is left is trained again.
        rest = home[1:]
        faces.activate(rest)
        replayed = _rows(_trained(faces, [rest], seed))
        never = [rest if people == home else people for people in shards]
        faces.activate([other for people in never for other in people])
        untouched = {tag: codes for tag, codes in before.items() if tag not in home}
        exact += {**untouched, **replayed} == _rows(_trained(faces, never, seed))
        work += len(rest)
    faces.activate()
    return FleetCohortRun(closed, one, four, exact / len(homes), work / len(homes) / len(faces.enrolled))


def _rows(lora: SharedLora) -> dict[str, list[int]]:
    return {row.subject_tag: list(row.codes) for row in lora.rows}


def _trained(faces: CapturedFleet, shards: Sequence[Sequence[str]], seed: int) -> SharedLora:
    """Return the LoRA whose rows were trained by shard, from nothing; the adapters must be active."""
    shape = LoraShape(features=faces.engine.features, rank=RANK, alpha=RANK, a_seed=seed, scale_bits=SCALE_BITS)
    rows = {row.subject_tag: row for tags in shards if tags for row in _shard(faces, tuple(tags), shape).rows}
    return SharedLora(shape=shape, rows=[rows[tag] for tag in sorted(rows)])


def _shard(faces: CapturedFleet, tags: tuple[str, ...], shape: LoraShape) -> SharedLora:
    ticket = JobTicket(kind=LEARNING_KIND_TRAIN_LORA, subject_tags=tags, lora=shape)
    nodes = range(len(faces.engine.node_ids))
    samples = [{tag: faces.captured(tag)[node] for tag in tags if node in faces.places[tag]} for node in nodes]
    state = initial_state(tags, shape, None)
    for _round in range(ROUNDS):
        results = faces.engine.run_rounds(
            [RoundRequest(node, ticket, state.encode(), samples[node], {}) for node in nodes]
        )
        state = averaged(state, results)
    return installable(state, shape)


def _rates(faces: CapturedFleet, lora: SharedLora | None) -> FleetRates:
    engine, nodes = faces.engine, range(len(faces.engine.node_ids))
    faces.activate()
    for node in nodes:
        engine.set_lora(node, lora)
    codes, people = faces.asked
    known, strangers = engine.identify(codes), engine.identify(faces.strangers)
    for node in nodes:
        engine.set_lora(node, None)
    return FleetRates(
        accuracy=float((np.array(known.best_tag) == np.array(people)).mean()),
        known_accepted=float(known.accepted.double().mean()),
        strangers_accepted=float(strangers.accepted.double().mean()),
        auroc=auc(known.score, strangers.score),
    )
