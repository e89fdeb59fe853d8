"""Concepts that the shipped backbone knows, masked by erasers as nodes train them: a style, and a thing.

Per seed: two nodes, each with a chip of its own, run the rounds of the learning job; their states are averaged as
Flower does, and rounded to codes. A judge that was trained on real pictures of all things, and is on no node, looks at
what both chips then draw, always from the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import LEARNING_KIND_UNLEARN_LORA, JobTicket, LoraShape
from reram_fleet.wire.concepts import concept_tag
from reram_fleet.wire.lora_states import StateArrays
from torch import Tensor

from edge_node.generation.class_codes import ClassLayout
from edge_node.generation.diffusion import keyed_noise, on_chips, sample
from edge_node.generation.dit import CLASSES, NULL_PROMPT, STYLES, prompts_of
from edge_node.generation.eraser import Concept
from edge_node.generation.eraser_rounds import EraserRequest, EraserTrainer, branches_of, concept_named
from edge_node.generation.generator import Generator
from edge_node.generation.image_generator import task_backbone
from edge_node.generation.judge import Judge
from edge_node.tasks.images import IMAGES
from fleet.coordinator.learning.erasers import ERASER_ROUNDS
from hwmodel import load_preset

PRESET = "180nm-1t1r"
NODES = 2
#: Of chips and noise. Recipes were tried on seed 900 alone.
SEEDS = (11, 12, 13, 14, 15)
#: Pictures of each public thing in each style, on each node; and of prompts that leave the concept open.
EACH, OPEN = 2, 40


@dataclass(frozen=True)
class Erased:
    """One concept of one seed: shares of pictures, over both nodes."""

    name: str
    #: Asked for by the concept, those that show it: before, with the eraser, and with it taken off again.
    before: float
    shows: float
    stripped: float
    #: Asked for by something else, those that have their style, and those that show their thing.
    styles: float
    things: float
    #: Asked for by the concept, those whose other half of the prompt is as asked.
    other_half: float
    #: Left open, those that show the concept.
    unasked: float


def run(seed: int) -> tuple[Erased, Erased]:
    """Erase a style and a thing, each on chips that know both; seeds take turns through all of them."""
    task = IMAGES
    public = task.images(task.public, test=False)
    nodes = [f"node-{number}" for number in range(NODES)]
    backbone, preset = task_backbone(task), load_preset(PRESET)
    apart = [Generator.program(backbone, preset, seed, [node], examples=public) for node in nodes]
    together = Generator.program(backbone, preset, seed, nodes, examples=public)
    recipe = task.recipe.subject
    trainer = EraserTrainer(task, ClassLayout(backbone.base, task.seed, recipe.rank, recipe.alpha), seed)
    judge = Judge.train(task.images(range(CLASSES), test=False), task.seed)
    style, thing = task.styles[seed % STYLES], task.split.public[seed % len(task.split.public)]
    erased = []
    for name in (f"style:{style}", f"thing:{thing}"):
        codes = _trained(trainer, apart, name)
        erased.append(_measured(trainer, together, judge, concept_named(name, task), codes, seed))
    first, second = erased
    return first, second


def _trained(trainer: EraserTrainer, chips: list[Generator], name: str) -> Tensor:
    """Return the eraser's codes, integers ``[1, length]``, after all rounds but the last, which only looks."""
    tag = concept_tag(name)
    state = StateArrays.empty([tag], LoraShape(rank=trainer.layout.length))
    for number in range(1, ERASER_ROUNDS):
        ticket = JobTicket(round=number, kind=LEARNING_KIND_UNLEARN_LORA, concept=name, forget_tags=[tag])
        sent = state.encode()
        answers = [StateArrays.decode(trainer.run(chip, EraserRequest(ticket, sent, ())).state) for chip in chips]
        mean = np.rint(np.mean([answer.rows for answer in answers], axis=0))
        state = replace(state, rows=mean.astype(np.int16))
    return torch.from_numpy(state.rows).to(torch.int32)


def _measured(
    trainer: EraserTrainer, chips: Generator, judge: Judge, concept: Concept, codes: Tensor, seed: int
) -> Erased:
    things = torch.tensor(trainer.task.public).repeat_interleave(STYLES).repeat(EACH)
    styles = torch.arange(STYLES).repeat(len(trainer.task.public)).repeat(EACH)
    mine = (styles if concept.is_style else things) == concept.number
    named, others = prompts_of(things, styles)[mine], prompts_of(things, styles)[~mine]
    left_open = concept.prompts(
        torch.full((OPEN,), concept.null), (things if concept.is_style else styles).repeat(2)[:OPEN]
    )
    left_open[::2] = NULL_PROMPT
    eraser = branches_of(chips, trainer.layout, codes.expand(NODES, -1))

    def drawn(prompts: Tensor, *, masked: bool) -> Tensor:
        noise = keyed_noise(seed, "images.erased", count=len(prompts)).expand(NODES, -1, -1, -1, -1)
        with chips.attached(eraser if masked else {}):
            return sample(on_chips(chips.chips), noise, prompts.expand(NODES, -1), trainer.task.recipe.sampling)

    def shows(pictures: Tensor) -> float:
        found = judge.styles(pictures) if concept.is_style else judge.classes(pictures)
        return float((found == concept.number).double().mean())

    before, after, kept = drawn(named, masked=False), drawn(named, masked=True), drawn(others, masked=True)
    return Erased(
        name=concept.name,
        before=shows(before),
        shows=shows(after),
        stripped=shows(drawn(named, masked=False)),
        styles=judge.style_accuracy(kept, styles[~mine]),
        things=judge.accuracy(kept, things[~mine]),
        other_half=judge.accuracy(after, things[mine])
        if concept.is_style
        else judge.style_accuracy(after, styles[mine]),
        unasked=shows(drawn(left_open, masked=True)),
    )
