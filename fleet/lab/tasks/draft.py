"""Draft of a task: a model and a folder of samples, measured so that a `ModelTask` can be written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from reram_fleet.code_ranges import MAX_SAMPLES, CodeRange
from torch import Tensor, nn

from edge_node.backbones.torch_model import model_features
from edge_node.errors import TaskError
from edge_node.tasks import Person, Split
from edge_node.tasks.model_task import ModelTask, load_model
from edge_node.tasks.sample_folder import SUFFIXES, SampleFolder, keyed_order, people_in, read_sample

#: Calibration of a chip takes three public people; a demo keeps somebody and forgets somebody.
MIN_PUBLIC, MIN_ENROLLED, MIN_STRANGERS = 3, 2, 1
#: Of each person: two nodes learn from one each at least, and both halves test.
MIN_SAMPLES = 4
#: Of all strangers together: a verification plants five as a canary and asks with five.
MIN_STRANGER_SAMPLES = 10
#: More, and what a node sends of one person no longer fits into a message.
MAX_FEATURES = 1280
#: Largest code of a written task, and the largest that the public people's features are scaled to.
CODE_MAX, PUBLIC_CODE = 2**14 - 1, 2**12
#: Most that one message carries, with room to spare: a person's samples, or two of everybody who is enrolled.
_MESSAGE_BYTES = 15 * 2**20

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Roles:
    """Wishes for who gets which role.

    Attributes
    ----------
    public
        How many people are public, or their names; None for a quarter of them.
    strangers
        How many are never enrolled; None for a quarter of the people, and so many that they have ten samples.
    seed
        Draws who is public, unless they are named, who is a stranger, and which samples test.
    """

    public: int | tuple[str, ...] | None = None
    strangers: int | None = None
    seed: int = 1


def draft_task(name: str, model: str, folder: Path, roles: Roles, variable: str, progress: Progress) -> ModelTask:
    """Return the task of a model and a folder; nothing is written.

    `TaskError` if there are too few people or samples, samples differ in shape, or the model cannot be made, differs
    from call to call, or fails on a sample; `SampleError` if it makes no features of one.
    """
    progress("Reading samples")
    counts = _counts(folder)
    public, strangers = _cast(counts, roles)
    shape = _shape(folder, public)
    samples = SampleFolder(str(folder), shape, public, strangers, roles.seed, variable)
    split = samples.split
    people = samples.people([*split.public, *split.enrolled, *split.strangers])
    _check_messages(split, people)
    progress("Running the model on every sample")
    features, gain = _measured(model, samples, people)
    return ModelTask(name, model, samples, CodeRange(features, CODE_MAX), gain)


def _counts(folder: Path) -> dict[str, int]:
    """Return how many samples each person has; `TaskError` if somebody has too few."""
    people = people_in(folder)
    counts = {
        name: sum(file.is_file() and not file.name.startswith(".") for file in (folder / name).iterdir())
        for name in people
    }
    least = MIN_PUBLIC + MIN_ENROLLED + MIN_STRANGERS
    if len(people) < least:
        raise TaskError(
            f"{folder} has folders of {len(people)} people; a task takes {least}: {MIN_PUBLIC} public, {MIN_ENROLLED} "
            f"enrolled and {MIN_STRANGERS} who never is"
        )
    if few := [f"{name} {count}" for name, count in counts.items() if count < MIN_SAMPLES]:
        raise TaskError(
            f"each person has {MIN_SAMPLES} samples at least ({', '.join(SUFFIXES)}); in {folder} have fewer: "
            f"{', '.join(few)}"
        )
    if many := [name for name, count in counts.items() if count > MAX_SAMPLES]:
        raise TaskError(f"each person has {MAX_SAMPLES} samples at most; in {folder} have more: {', '.join(many)}")
    return counts


def _cast(counts: Mapping[str, int], roles: Roles) -> tuple[tuple[str, ...], int]:
    """Return the names of the public people, and how many strangers there are."""
    people = sorted(counts)
    public = roles.public if roles.public is not None else max(MIN_PUBLIC, len(people) // 4)
    if isinstance(public, int):
        public = tuple(sorted(keyed_order(people, roles.seed, "public")[:public]))
    if unknown := sorted(set(public) - set(people)):
        raise TaskError(f"nobody is called {', '.join(unknown)}; there are: {', '.join(people)}")
    if len(set(public)) < max(MIN_PUBLIC, len(public)):
        raise TaskError(f"{MIN_PUBLIC} people are public at least, nobody twice; got {', '.join(public) or 'none'}")
    others = keyed_order(set(people) - set(public), roles.seed, "stranger")
    most = len(others) - MIN_ENROLLED
    strangers = roles.strangers
    if strangers is None:
        strangers = max(MIN_STRANGERS, len(people) // 4)
        while strangers < most and sum(counts[name] for name in others[:strangers]) < MIN_STRANGER_SAMPLES:
            strangers += 1
    if not MIN_STRANGERS <= strangers <= most:
        raise TaskError(
            f"of {len(people)} people {len(public)} are public and {strangers} strangers: that leaves "
            f"{len(others) - strangers} to enrol. A task takes {MIN_ENROLLED} of them, and {MIN_STRANGERS} stranger"
        )
    if (known := sum(counts[name] for name in others[:strangers])) < MIN_STRANGER_SAMPLES:
        raise TaskError(
            f"strangers have {known} samples together; a task takes {MIN_STRANGER_SAMPLES}: make more people strangers"
        )
    return public, strangers


def _shape(folder: Path, public: Sequence[str]) -> tuple[int, ...]:
    """Return the shape of the first public sample, by which all others are held."""
    first = next(file for file in sorted((folder / public[0]).iterdir()) if not file.name.startswith("."))
    return read_sample(first).shape


def _check_messages(split: Split, people: Mapping[str, Person]) -> None:
    each = people[split.public[0]].train[0].nbytes
    most = max(2 * len(split.enrolled), *(len(person.train) for person in people.values()))
    if each * most > _MESSAGE_BYTES:
        raise TaskError(
            f"a sample has {each} bytes, and messages carry {most} of them: {_MESSAGE_BYTES} bytes at most. Give "
            "smaller samples"
        )


def _measured(factory: str, samples: SampleFolder, people: Mapping[str, Person]) -> tuple[int, float]:
    """Return how many features the model makes of a sample, and how many codes a unit of one is worth."""
    model = load_model(factory)
    _check_same(factory, model)

    def features(sample: np.ndarray) -> Tensor:
        return model_features(model, torch.tensor(samples.shaped(sample)))

    first = people[samples.public[0]].train[0]
    if not torch.equal(expected := features(first), features(first)):
        raise TaskError("the model makes other features of the same sample each time: does it draw numbers?")
    largest, count = 0.0, len(expected)
    if not 2 <= count <= MAX_FEATURES:
        raise TaskError(f"the model makes {count} features of a sample; a task takes 2 to {MAX_FEATURES}")
    for name, person in people.items():
        found = [features(sample) for sample in (*person.train, *person.test)]
        if other := next((len(each) for each in found if len(each) != count), None):
            raise TaskError(f"the model makes {other} features of a sample of {name}, {count} of others")
        if name in samples.public:
            largest = max(largest, *(float(each.abs().max()) for each in found))
    if not largest:
        raise TaskError("the model makes nothing but zeros of the public samples")
    return count, 2.0 ** math.floor(math.log2(PUBLIC_CODE / largest))


def _check_same(factory: str, model: nn.Module) -> None:
    again: dict[str, Tensor] = load_model(factory).state_dict()
    differing = [
        name for name, value in model.state_dict().items() if name not in again or not torch.equal(value, again[name])
    ]
    if differing:
        raise TaskError(
            f"{factory} makes another model each time ({differing[0]} differs): nodes would not understand each other. "
            "Draw random weights by torch alone, or load them from a file"
        )
