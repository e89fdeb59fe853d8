"""A whole life of a small fleet, in one process and without a network: enrol, learn, forget, repair.

What the demo does over real processes, as a function, to choose a recipe and to show what it is worth:
``python -m fleet.lab.verification.forget_trial`` prints one JSON line for each person forgotten;
``--leave-outs`` tries every choice of public people, since nine people are few and the choice matters.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    JobTicket,
    LearningKind,
    LoraShape,
    LoraState,
    SubjectAdapter,
)
from torch import Tensor

from edge_node.recognition.engine import Engine, RoundRequest
from edge_node.recognition.lora.output_layer import quantise
from edge_node.recognition.training import state as lora_state
from edge_node.tasks import Person, Split
from edge_node.tasks.speakers import SPEAKERS, SpeakersTask, load_people
from fleet.lab.verification.quality import NodeQuality, measure
from hwmodel import load_preset

NODES = ("node-0", "node-1", "node-2", "node-3")
ROUNDS = 3


@dataclass(frozen=True)
class Trial:
    """Qualities by node: closed form alone, with the LoRA, and after forgetting the first enrolled person."""

    split: Split
    closed_form: list[NodeQuality]
    learned: list[NodeQuality]
    suppressed: list[NodeQuality]
    repaired: list[NodeQuality]
    repaired_closed_form: list[NodeQuality]


def run(split: Split, forget: str, *, fleet_seed: int = 1, rank: int = 16, with_lora: bool = True) -> Trial:
    """Enrol every person on two nodes, half of the clips each; learn; forget one person; repair.

    Parameters
    ----------
    split
        Roles of the nine speakers.
    forget
        Name of the enrolled person to forget.
    fleet_seed, rank
        Of chips and reservoir; of the LoRA.
    with_lora
        Whether to train and repair a LoRA; else all qualities are the closed form's.
    """
    engine = Engine.build(SpeakersTask(split), load_preset("180nm-1t1r"), fleet_seed, NODES)
    people = load_people()
    tag_of = {name: f"{index:032x}" for index, name in enumerate(split.enrolled, start=1)}
    samples = _enrol(engine, people, tag_of)
    tags = sorted(tag_of.values())
    for tag in tags:
        mine = torch.cat([codes[tag] for codes in samples if tag in codes]).long()
        adapter = SubjectAdapter(subject_tag=tag, count=len(mine), code_sum=mine.sum(dim=0).tolist())
        for node in range(len(NODES)):
            engine.set_subject(node, adapter)

    test = {tag_of[name]: engine.capture(people[name].test) for name in split.enrolled}
    strangers = engine.capture([clip for name in split.strangers for clip in people[name].test])
    closed_form = measure(engine, test, strangers, {})
    shape = LoraShape(features=engine.features, rank=rank, alpha=float(rank), a_seed=fleet_seed, scale_bits=16)
    state = lora_state.initial(tags, rank)
    if with_lora:
        state = _federate(engine, LEARNING_KIND_TRAIN_LORA, shape, state, samples, ())
        _install(engine, shape, state, tags)
    learned = measure(engine, test, strangers, {})

    gone = tag_of[forget]
    for node in range(len(NODES)):
        engine.drop_subjects(node, [gone])
    kept = {tag: codes for tag, codes in test.items() if tag != gone}
    suppressed = measure(engine, kept, strangers, {gone: test[gone]})
    if with_lora:
        state = _federate(engine, LEARNING_KIND_UNLEARN_LORA, shape, state, samples, (gone,))
        _install(engine, shape, state, [tag for tag in tags if tag != gone])
    repaired = measure(engine, kept, strangers, {gone: test[gone]})
    for node in range(len(NODES)):
        engine.set_lora(node, None)
    alone = measure(engine, kept, strangers, {gone: test[gone]})
    return Trial(split, closed_form, learned, suppressed, repaired, alone)


def _enrol(engine: Engine, people: Mapping[str, Person], tag_of: Mapping[str, str]) -> list[dict[str, Tensor]]:
    """Return captured codes by tag for each node: person i on nodes 2i and 2i + 1 (modulo the fleet)."""
    samples: list[dict[str, Tensor]] = [{} for _ in engine.node_ids]
    for index, (name, tag) in enumerate(tag_of.items()):
        clips = people[name].train
        half = len(clips) // 2
        codes = engine.capture(clips)
        first, second = 2 * index % len(samples), (2 * index + 1 + index // 2) % len(samples)
        if second == first:
            second = (second + 1) % len(samples)
        samples[first][tag] = codes[first, :half]
        samples[second][tag] = codes[second, half:]
    return samples


def _federate(
    engine: Engine,
    kind: LearningKind,
    shape: LoraShape,
    state: LoraState,
    samples: Sequence[Mapping[str, Tensor]],
    forget: Sequence[str],
) -> LoraState:
    """Return the state after some rounds of plain averaging, as stock FedAvg does it."""
    tags = list(state.subject_tags)
    for number in range(1, ROUNDS + 1):
        ticket = JobTicket(round=number, kind=kind, subject_tags=tags, forget_tags=forget, lora=shape)
        requests = [
            RoundRequest(
                node,
                ticket,
                state,
                {tag: codes for tag, codes in mine.items() if tag not in forget},
                {tag: codes for tag, codes in mine.items() if tag in forget},
            )
            for node, mine in enumerate(samples)
        ]
        results = engine.run_rounds(requests)
        total = sum(r.num_examples for r in results)
        numerator, weight = torch.zeros(len(tags), shape.rank), torch.zeros(len(tags))
        for result in results:
            share = result.num_examples / total
            values = torch.frombuffer(bytearray(result.state.numerator), dtype=torch.float32)
            numerator += share * values.reshape(len(tags), shape.rank)
            weight += share * torch.frombuffer(bytearray(result.state.weight), dtype=torch.float32)
        state = LoraState(
            subject_tags=tags,
            rank=shape.rank,
            numerator=numerator.numpy().astype("<f4").tobytes(),
            weight=weight.numpy().astype("<f4").tobytes(),
        )
    return state


def _install(engine: Engine, shape: LoraShape, state: LoraState, tags: Sequence[str]) -> None:
    b = lora_state.decode(state, list(state.subject_tags), shape.rank)
    rows = [list(state.subject_tags).index(tag) for tag in tags]
    lora = quantise(shape, tags, b[rows])
    for node in range(len(engine.node_ids)):
        engine.set_lora(node, lora)


def leave_outs() -> list[Split]:
    """Return every choice of three public people; of the other six, the first four in order are enrolled."""
    names = sorted(load_people())
    splits = []
    for public in itertools.combinations(names, 3):
        rest = [name for name in names if name not in public]
        splits.append(Split(public, tuple(rest[:4]), tuple(rest[4:])))
    return splits


def main(arguments: Sequence[str] | None = None) -> int:
    """Print trials as JSON lines on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leave-outs", action="store_true", help="try all 84 choices of public people")
    parser.add_argument("--fleet-seed", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.leave_outs:
        trials = [(split, split.enrolled[i % 4]) for i, split in enumerate(leave_outs())]
    else:
        trials = [(SPEAKERS.split, name) for name in SPEAKERS.split.enrolled]
    for split, name in trials:
        trial = run(split, name, fleet_seed=options.fleet_seed)
        sys.stdout.write(json.dumps({"forget": name} | asdict(trial)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
