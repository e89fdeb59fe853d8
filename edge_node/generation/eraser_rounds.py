"""Rounds of a learning job on a node that generates: an eraser is trained, and last it is seen what it hides."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_UNLEARN_LORA,
    Eraser,
    JobTicket,
    LoraState,
)
from reram_fleet.wire.concepts import ERASER_SCALE_BITS, STYLE, THING, concept_name
from reram_fleet.wire.lora_states import LoraStateError, StateArrays
from torch import Tensor

from edge_node.errors import EngineError, RoundError
from edge_node.generation.class_codes import ClassLayout
from edge_node.generation.class_fit import digital_cost
from edge_node.generation.diffusion import keyed_noise, on_chips, sample
from edge_node.generation.dit import NULL_PROMPT, STYLES
from edge_node.generation.eraser import Concept, added, fit_eraser
from edge_node.generation.generator import BLOCK_LAYERS, LABELS, Generator
from edge_node.generation.judge import Judge
from edge_node.recognition.lora.branch import LoraBranch
from edge_node.recognition.training.rounds import RoundResult
from edge_node.tasks import GenerationTask
from hwmodel import Phase, Precision
from hwmodel.nn import Correction

#: Pictures of each kind that are looked at: of the concept, of others, and of prompts that leave it open.
LOOKED_AT = 48


def concepts_of(task: GenerationTask) -> tuple[str, ...]:
    """Return the names of what the backbone of a task knows: styles, and public things."""
    styles = [concept_name(STYLE, name) for name in task.styles]
    return (*styles, *(concept_name(THING, name) for name in task.split.public))


def concept_named(name: str, task: GenerationTask) -> Concept:
    """Return the concept of a name; `EngineError` if the backbone of the task does not know it."""
    if name not in concepts_of(task):
        raise EngineError(f"the backbone knows no {name!r}; it knows: {', '.join(concepts_of(task))}")
    kind, value = name.split(":")
    return Concept(name, kind == STYLE, task.style(value) if kind == STYLE else task.label(value))


@dataclass(frozen=True)
class EraserRequest:
    """Input of one node to one round: a ticket that was checked, the state, and erasers that act already."""

    ticket: JobTicket
    state: LoraState
    beside: tuple[Eraser, ...]

    @property
    def batch(self) -> Hashable:
        """Key that requests of one batch share: none do, each node has a chip of its own."""
        return id(self)


@dataclass(frozen=True)
class Shares:
    """Shares of pictures, 0 to 1.

    Attributes
    ----------
    shows, stripped
        Of pictures that are asked for by the concept, those that show it: with the eraser, and without.
    open
        Of pictures that are asked for without saying, those that show the concept, with the eraser.
    others
        Of pictures that are asked for by something else, those that show their thing and have their style.
    """

    shows: float
    stripped: float
    open: float
    others: float

    def metrics(self) -> dict[str, float]:
        """Return them as they travel."""
        return {f"eraser_{name}": value for name, value in vars(self).items()}


def branches_of(generator: Generator, layout: ClassLayout, codes: Tensor) -> dict[str, Correction]:
    """Return the branches of erasers' codes, integers ``[N, layout.length]``; the label table has none."""
    counts = torch.ones(len(codes), dtype=torch.int64)
    return {
        name: LoraBranch(a, b, Precision.FP32, generator.chips.preset, generator.meter)
        for name, a, b in layout.factors(codes.to(torch.int64), counts)
        if name != LABELS
    }


@dataclass(frozen=True, eq=False)
class EraserTrainer:
    """Training of erasers on chips, and the eye that judges them; `seed` is of all that is random."""

    task: GenerationTask
    layout: ClassLayout
    seed: int

    @cached_property
    def _judge(self) -> Judge:
        # Of public things only: what a node may read by itself.
        return Judge.train(self.task.images(self.task.public, test=False), self.task.seed)

    def run(self, generator: Generator, request: EraserRequest) -> RoundResult:
        """Run a round on one node's chip; `RoundError` if the request is malformed, `EngineError` if it diverges."""
        ticket, public = request.ticket, self.task.images(self.task.public, test=False)
        concept = concept_named(ticket.concept, self.task)
        before = self._decoded(request)
        start = torch.from_numpy(before.rows).float() * 2.0**-ERASER_SCALE_BITS
        others = [eraser for eraser in request.beside if eraser.concept != concept.name]
        beside = self.branches(generator, others)
        mark = generator.ledger.mark()
        if ticket.kind == LEARNING_KIND_UNLEARN_LORA:
            recipe = self.task.recipe.eraser
            after = fit_eraser(
                generator,
                self.layout,
                concept,
                public,
                start,
                beside,
                seed=self.seed,
                number=ticket.round,
                recipe=recipe,
            )
            spent = digital_cost(generator, BLOCK_LAYERS, rank=self.layout.rank, batch=recipe.batch, steps=recipe.steps)
            generator.ledger.charge(Phase.TRAIN, spent)
            metrics: Mapping[str, float] = {}
        elif ticket.kind == LEARNING_KIND_EVALUATE_QUALITY:
            after = start
            metrics = self.look(generator, concept, self.codes(start), beside, ticket.node_id).metrics()
        else:
            raise RoundError(f"a node that generates runs no rounds of learning kind {ticket.kind}")
        result = replace(before, rows=self.codes(after).numpy().astype(np.int16)).encode()
        return RoundResult(result, LOOKED_AT, metrics, generator.ledger.since(mark))

    def _decoded(self, request: EraserRequest) -> StateArrays:
        """Return the state of one row, all codes of the eraser; `RoundError` if it is another."""
        try:
            found = StateArrays.decode(request.state)
        except LoraStateError as error:
            raise RoundError(f"the state of an eraser is malformed: {error}") from error
        if list(found.tags) != list(request.ticket.forget_tags) or found.rows.shape != (1, self.layout.length):
            raise RoundError(
                f"the state of an eraser has rows {found.rows.shape}: expected one of {self.layout.length} codes"
            )
        return found

    def codes(self, flat: Tensor) -> Tensor:
        """Return factors, floats ``[N, length]``, as they are installed; `AdapterError` if they are too large."""
        return self.layout.codes(dict(self.layout.split(flat)))

    def branches(self, generator: Generator, erasers: Sequence[Eraser]) -> dict[str, Correction]:
        """Return the branches of a node's active erasers."""
        return added(
            *(
                branches_of(generator, self.layout, torch.tensor([list(each.codes)], dtype=torch.int64))
                for each in erasers
            )
        )

    def look(
        self, generator: Generator, concept: Concept, codes: Tensor, beside: Mapping[str, Correction], key: str
    ) -> Shares:
        """Generate pictures with and without an eraser, from noise of a key, and see what they show."""
        masked = added(branches_of(generator, self.layout, codes), beside)
        things, styles = torch.tensor(self.task.public), torch.arange(STYLES)
        every = [(int(thing), int(style)) for style in styles for thing in things]
        halves = torch.tensor([every[number % len(every)] for number in range(LOOKED_AT * STYLES)])
        mine = halves[:, 1] if concept.is_style else halves[:, 0]
        others = halves[mine != concept.number][:LOOKED_AT]
        asked = torch.full((LOOKED_AT,), concept.number)
        rest = (halves[:, 0] if concept.is_style else halves[:, 1])[:LOOKED_AT]
        named = concept.prompts(asked, rest)
        left_open = concept.prompts(torch.full_like(asked, concept.null), rest)
        left_open[::2] = NULL_PROMPT

        def shown(prompts: Tensor, active: Mapping[str, Correction]) -> float:
            seen = self._generated(generator, prompts, active, key)
            found = self._judge.styles(seen) if concept.is_style else self._judge.classes(seen)
            return float((found == concept.number).double().mean())

        kept = self._generated(generator, others[:, 0] * (STYLES + 1) + others[:, 1], masked, key)
        right = (self._judge.classes(kept) == others[:, 0]) & (self._judge.styles(kept) == others[:, 1])
        return Shares(
            shows=shown(named, masked),
            stripped=shown(named, beside),
            open=shown(left_open, masked),
            others=float(right.double().mean()),
        )

    def _generated(self, generator: Generator, prompts: Tensor, active: Mapping[str, Correction], key: str) -> Tensor:
        noise = keyed_noise(self.seed, "images.eraser.look", key, count=len(prompts))
        shape = (generator.nodes, -1)
        with generator.chips.charging(Phase.VERIFY), generator.attached(active):
            return sample(
                on_chips(generator.chips),
                noise.expand(*shape, *noise.shape[1:]),
                prompts.expand(shape),
                self.task.recipe.sampling,
            )
