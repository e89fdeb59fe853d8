"""The fleet's own LoRA on faces, in one shard and in four: its price, and a forget by replay.

These are the rounds that `fleet learn start --kind train.cohort` runs: `Engine.run_rounds` with tickets that
name one shard, Flower's average, integers between rounds. Transport is left out. The closed form alone,
which every row starts from, stands beside: on healthy chips the LoRA adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from reram_fleet.cohorts import shard_of
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, JobTicket, LoraShape, LoraState, SharedLora

from edge_node.recognition.engine import RoundRequest
from edge_node.recognition.lora.output_layer import quantise
from edge_node.recognition.training.state import decode, initial
from fleet.lab.fleets.face_fleet import NODES, FaceFleet
from fleet.lab.fleets.running import print_runs
from fleet.lab.replay.federated import fed_average
from tests.bench.workloads.open_set import auroc

#: Nothing was chosen on them.
SEEDS = (200, 201, 202, 203, 204)
SHARDS = 4
ROUNDS = 3
RANK, SCALE_BITS = 16, 16


@dataclass(frozen=True)
class FleetRates:
    """Shares of 1, over all nodes' views of the test photos.

    Attributes
    ----------
    accuracy
        Photos of enrolled people that are named rightly, accepted or not.
    known_accepted, strangers_accepted
        At the threshold that public people fixed.
    auroc
        Best scores of enrolled people's photos against strangers'.
    """

    accuracy: float
    known_accepted: float
    strangers_accepted: float
    auroc: float


@dataclass(frozen=True)
class FleetCohortRun:
    """One split with its chips.

    Attributes
    ----------
    closed_form, one_shard, four_shards
        Without LoRA, and with it.
    forgets, exact
        People forgotten one at a time by replaying their shard, and how many of these gave the integers of a
        fleet in which they never were, all other shards untouched.
    share_of_retrain
        Rows trained times rounds of a replay over those of training all shards, mean.
    """

    closed_form: FleetRates
    one_shard: FleetRates
    four_shards: FleetRates
    forgets: int
    exact: int
    share_of_retrain: float


def run(seed: int, *, nodes: int = NODES, forgets: int = SHARDS) -> FleetCohortRun:
    """Measure the fleet's LoRA on the faces of one seed, in one shard and in four.

    `forgets` people are forgotten, the first of each shard.
    """
    faces = FaceFleet.of(seed, nodes=nodes)
    closed = _rates(faces, None)
    one = _rates(faces, _trained(faces, [faces.enrolled], seed))
    shards = _shards(faces.enrolled, seed)
    sharded = _trained(faces, shards, seed)
    before, four = _rows(sharded), _rates(faces, sharded)
    forgotten = [people[0] for people in shards if people][:forgets]
    exact, work = 0, 0
    for name in forgotten:
        home = next(people for people in shards if name in people)
        rest = tuple(other for other in home if other != name)
        # The person's adapter and samples are gone; whoever is left is trained again.
        faces.activate(rest)
        replayed = _rows(_trained(faces, [rest], seed))
        never = [people if name not in people else rest for people in shards]
        faces.activate([other for people in never for other in people])
        want = _rows(_trained(faces, never, seed))
        untouched = {tag: codes for tag, codes in before.items() if tag not in home}
        exact += {**untouched, **replayed} == want
        work += len(rest)
    faces.activate()
    share = work / len(forgotten) / len(faces.enrolled)
    return FleetCohortRun(closed, one, four, len(forgotten), exact, share)


def _shards(names: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    return [tuple(n for n in names if shard_of(n, seed, SHARDS) == shard) for shard in range(SHARDS)]


def _rows(lora: SharedLora) -> dict[str, list[int]]:
    return {row.subject_tag: list(row.codes) for row in lora.rows}


def _trained(faces: FaceFleet, shards: Sequence[Sequence[str]], seed: int) -> SharedLora:
    """Return the LoRA whose rows were trained by shard, from nothing; the adapters must be active."""
    shape = LoraShape(features=faces.engine.features, rank=RANK, alpha=RANK, a_seed=seed, scale_bits=SCALE_BITS)
    rows = [row for tags in shards if tags for row in _shard_rows(faces, tuple(tags), shape).rows]
    return SharedLora(shape=shape, rows=sorted(rows, key=lambda row: row.subject_tag))


def _shard_rows(faces: FaceFleet, tags: tuple[str, ...], shape: LoraShape) -> SharedLora:
    ticket = JobTicket(kind=LEARNING_KIND_TRAIN_LORA, subject_tags=tags, lora=shape)
    nodes = range(len(faces.engine.node_ids))
    samples = [{tag: faces.captured(tag)[node] for tag in tags if node in faces.places[tag]} for node in nodes]
    state = initial(tags, RANK)
    for _round in range(ROUNDS):
        requests = [RoundRequest(node, ticket, state, samples[node], {}) for node in nodes]
        results = faces.engine.run_rounds(requests)
        average = fed_average([(_arrays(result.state), result.num_examples) for result in results])
        state = _rounded(tags, average["numerator"], average["weight"])
    return quantise(shape, tags, decode(state, tags, RANK))


def _arrays(state: LoraState) -> dict[str, np.ndarray]:
    rows = len(state.subject_tags)
    numerator = np.frombuffer(state.numerator, "<f4").reshape(rows, state.rank)
    return {"numerator": numerator, "weight": np.frombuffer(state.weight, "<f4")}


def _rounded(tags: tuple[str, ...], numerator: np.ndarray, weight: np.ndarray) -> LoraState:
    values = numerator.astype(np.float64) / weight.astype(np.float64)[:, None]
    codes = np.rint(values * 2.0**SCALE_BITS) * 2.0**-SCALE_BITS
    return LoraState(
        subject_tags=tags,
        rank=RANK,
        numerator=codes.astype("<f4").tobytes(),
        weight=np.ones(len(tags), "<f4").tobytes(),
    )


def _rates(faces: FaceFleet, lora: SharedLora | None) -> FleetRates:
    faces.activate()
    for node in range(len(faces.engine.node_ids)):
        faces.engine.set_lora(node, lora)
    codes, people = faces.asked
    known, strangers = faces.engine.identify(codes), faces.engine.identify(faces.strangers)
    hits = [tag == name for tags in known.best_tag for tag, name in zip(tags, people, strict=True)]
    for node in range(len(faces.engine.node_ids)):
        faces.engine.set_lora(node, None)
    return FleetRates(
        accuracy=float(np.mean(hits)),
        known_accepted=float(known.accepted.double().mean()),
        strangers_accepted=float(strangers.accepted.double().mean()),
        auroc=auroc(known.score.numpy(), strangers.score.numpy()),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(print_runs(run, SEEDS))
