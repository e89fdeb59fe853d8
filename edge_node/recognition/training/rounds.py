"""Round of learning on a batch of nodes: from captured codes and a ticket to the state that goes back."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    JobTicket,
    LoraState,
)
from reram_fleet.wire.lora_states import LoraStateError, StateArrays
from reram_fleet.wire.shared_lora import SCALE_BITS
from torch import Tensor

from edge_node.errors import RoundError
from edge_node.recognition.bank import AdapterBank, check_shape
from edge_node.recognition.lora.output_layer import nobody, read_samples
from edge_node.recognition.lora.stage import Stage
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training import batch, logistic, neggrad
from edge_node.recognition.training.batch import NodeBatch, PreparedNode
from edge_node.recognition.training.exact import class_weights, on_grid
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import BASE_BITS, GAIN, LARGEST_BASE, Recipe
from hwmodel import Cost, Phase

KINDS = (LEARNING_KIND_TRAIN_LORA, LEARNING_KIND_UNLEARN_LORA, LEARNING_KIND_EVALUATE_QUALITY)


@dataclass(frozen=True)
class RoundRequest:
    """Input of one node to one round; the order of `samples` and `forget` does not matter.

    `node` is the index on the engine's node axis; `ticket` is checked. `samples` and `forget` are codes that were
    captured on this node, int32 [samples, features] by tag, of kept and of forgotten people.
    """

    node: int
    ticket: JobTicket
    state: LoraState
    samples: Mapping[str, Tensor]
    forget: Mapping[str, Tensor]

    @property
    def batch(self) -> Hashable:
        """Key that requests of one batch share: kind, LoRA shape, rows and the branches that they read."""
        ticket = self.ticket
        shape, read = ticket.lora.SerializeToString(deterministic=True), tuple(self.state.row_branches)
        return ticket.kind, shape, tuple(ticket.subject_tags), read


@dataclass(frozen=True)
class RoundResult:
    """State after the round, number of samples that it was computed on, scalar metrics."""

    state: LoraState
    num_examples: int
    metrics: Mapping[str, float]
    #: What was spent beside the engine that a node charges by itself.
    costs: Mapping[Phase, Cost] = field(default_factory=dict)


def run_rounds(
    calibration: ScoreCalibration,
    banks: Mapping[int, AdapterBank] | Sequence[AdapterBank],
    requests: Sequence[RoundRequest],
) -> list[RoundResult]:
    """Run one round of each request, all of the same kind and LoRA shape, as one batch; banks are by node.

    `RoundError` if a request is malformed, or they differ in kind, rank or number of rows. Nothing is changed.
    """
    if not requests:
        return []
    first, key = requests[0].ticket, requests[0].batch
    for request in requests:
        if request.ticket.kind not in KINDS:
            raise RoundError(f"learning kind {request.ticket.kind} is not one that an engine can run")
        if request.batch != key:
            raise RoundError("requests of one batch differ in kind, LoRA shape or rows: run them apart")
    nodes = [_prepare(calibration, banks[request.node], request) for request in requests]
    together = NodeBatch.of(nodes)
    known = torch.stack([n.known for n in nodes])
    read = requests[0].state.row_branches or (0,) * len(first.subject_tags)
    branches, before = torch.stack([n.branches for n in nodes]), torch.stack([n.rows for n in nodes])
    if first.kind != LEARNING_KIND_EVALUATE_QUALITY and branches.shape[1] > 1:
        raise RoundError(f"a round trains one branch at a time; the state has {branches.shape[1]}")
    # All other rows have weight 0, on a node all but a few: its own come first, and these alone are computed with.
    own = known.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(known.sum(dim=1).max()))]
    samples = together.samples.of_rows(own)
    start = Factors(branches[:, 0], before)
    after, changed = start, torch.zeros_like(known)
    if first.kind == LEARNING_KIND_TRAIN_LORA:
        trained = logistic.train(Recipe.of(Stage.of(first.lora)), start.of_rows(own), samples, known.gather(1, own))
        places = own[:, :, None].expand(-1, -1, before.shape[2])
        after, changed = Factors(trained.b, before.scatter(1, places, trained.rows)), known
    elif first.kind == LEARNING_KIND_UNLEARN_LORA:
        after, changed = _unlearn(together, requests, start)
    metrics = []
    for when, learnt in (("before", start), ("after", after)):
        b = branches if learnt is start else learnt.b[:, None]
        logits, hidden = (
            batch.logits(asked, b, learnt.rows, read) for asked in (together.samples.asked, together.forget)
        )
        losses, qualities = samples.loss(logistic.gathered(logits, own)).tolist(), together.quality(logits, hidden)
        metrics += [
            {f"loss_{when}": loss} | {f"{name}_{when}": value for name, value in quality.items()}
            for loss, quality in zip(losses, qualities, strict=True)
        ]
    trains = first.kind != LEARNING_KIND_EVALUATE_QUALITY
    return [
        RoundResult(
            _sent(request, after[i : i + 1], changed[i]) if trains else request.state,
            len(node.base),
            metrics[i] | metrics[i + len(nodes)],
        )
        for i, (node, request) in enumerate(zip(nodes, requests, strict=True))
    ]


def _sent(request: RoundRequest, learnt: Factors, changed: Tensor) -> LoraState:
    """Return what one node sends back: what it has changed, and B if that is anything."""
    rows, b = ((part * 2.0**SCALE_BITS).numpy().astype(np.int16) for part in (learnt.rows[0], learnt.b))
    mine, anybody = changed.numpy(), bool(changed.any()) and b.shape[1] > 0
    branches = int(b.shape[1] > 0)
    return StateArrays(
        tuple(request.ticket.subject_tags),
        rows * mine[:, None],
        mine.astype(np.uint8),
        b[:branches] * anybody,
        np.full(branches, anybody, np.uint8),
        (0,) * len(mine),
    ).encode()


def _unlearn(batch: NodeBatch, requests: Sequence[RoundRequest], before: Factors) -> tuple[Factors, Tensor]:
    """Repair B and the remaining rows, and set the forgotten rows to zero.

    A node without forgotten samples has nothing to repair: what it sends back has weight 0, so that its average does
    not undo what the others do.
    """
    forgotten = torch.tensor(
        [[tag in set(r.ticket.forget_tags) for tag in r.ticket.subject_tags] for r in requests], dtype=torch.bool
    )
    after = Factors(before.b.clone(), before.rows.masked_fill(forgotten[:, :, None], 0.0))
    some = batch.hidden.any(dim=1)
    repaired = batch.scored & ~forgotten & some[:, None]
    if bool(some.any()):
        found = neggrad.unlearn(
            after[some], batch.samples[some], batch.forget[some], batch.hidden[some], repaired[some]
        )
        after.b[some], after.rows[some] = found.b, found.rows
    return after, repaired | forgotten


def _prepare(calibration: ScoreCalibration, bank: AdapterBank, request: RoundRequest) -> PreparedNode:
    ticket, tags = request.ticket, list(request.ticket.subject_tags)
    check_shape(ticket.lora, bank.features)
    branches, learnt = _factors(request)
    forgotten = set(ticket.forget_tags)
    enrolled, allowed = {tag: index for index, tag in enumerate(bank.tags)}, set(tags) - forgotten
    kept = [tag for tag in sorted(request.samples) if tag in allowed and tag in enrolled]
    for codes in [*request.samples.values(), *request.forget.values()]:
        if codes.ndim != 2 or codes.shape[1] != bank.features or codes.is_floating_point():
            raise RoundError(
                f"samples are integer codes [samples, {bank.features}]; one tag has {codes.dtype} {list(codes.shape)}"
            )
    kept = [tag for tag in kept if len(request.samples[tag])]
    sums, sample_counts = bank.sums()
    column = {tag: k for k, tag in enumerate(tags)}
    scored = torch.tensor([tag in enrolled and tag not in forgotten for tag in tags], dtype=torch.bool)
    means = torch.zeros(len(tags), bank.features, dtype=torch.int64)
    for tag, index in enrolled.items():
        if tag in column:
            means[column[tag]] = sums[index]
    groups = [request.samples[tag] for tag in kept]
    hidden = [request.forget[tag] for tag in sorted(request.forget) if tag in forgotten]
    none, threshold = torch.zeros(0, bank.features, dtype=torch.int64), calibration.accept_threshold[request.node]
    # A sample is left out of its own person's mean, unless it is all of that.
    others = [
        sums[enrolled[tag]] - codes * int(sample_counts[enrolled[tag]] > 1)
        for tag, codes in zip(kept, groups, strict=True)
    ]

    chip = calibration.whitening.chip(request.node)
    # A mean's length does not matter to a cosine, so the sum stands for it.
    parts = [torch.cat([none, *vectors]) for vectors in ([means], groups, hidden, others)]
    together, ends = chip.of(torch.cat(parts)), [0, *itertools.accumulate(map(len, parts))]
    rows, asked = together[: ends[1]], chip.public.followed_by(together[ends[1] : ends[3]])
    public, count = len(chip.codes), len(chip.codes) + len(parts[1])
    cosines, reads = chip.cosine(asked, rows), read_samples(ticket.lora, chip, asked)
    cosine = cosines[:count]
    target = torch.zeros(cosine.shape, dtype=torch.float64)
    whose = [column[tag] for tag, codes in zip(kept, groups, strict=True) for _ in range(len(codes))]
    mine = torch.arange(public, len(cosine)), torch.tensor(whose, dtype=torch.int64)
    target[mine] = 1.0
    cosine[mine] = chip.paired_cosine(together[ends[1] : ends[2]], together[ends[3] :])
    known = torch.tensor([tag in kept for tag in tags], dtype=torch.bool)
    weight = class_weights(target, torch.ones(len(target), 1), Recipe.of(reads.stage).own_share)
    return PreparedNode(
        branches=branches,
        rows=learnt,
        reads=reads.some(slice(count)),
        nobody=nobody(reads.some(slice(public))),
        base=_logits(cosine, threshold),
        target=target.float(),
        weight=(weight * known).float(),
        known=known,
        scored=scored,
        public=public,
        forget_reads=reads.some(slice(count, None)),
        forget_base=_logits(cosines[count:], threshold),
    )


def _logits(cosine: Tensor, threshold: Tensor) -> Tensor:
    """Return the closed form's logits, float32 at `BASE_BITS`."""
    return on_grid(GAIN * (cosine - threshold), BASE_BITS, LARGEST_BASE).float()


def _factors(request: RoundRequest) -> tuple[Tensor, Tensor]:
    """Return branches, float64 [G, neurons, rank], and rows of a request; without neurons one branch of none.

    `RoundError` if the state is malformed, or not of the ticket's people and shape.
    """
    ticket = request.ticket
    try:
        arrays = StateArrays.decode(request.state)
    except LoraStateError as error:
        raise RoundError(str(error)) from error
    wanted = StateArrays.empty(ticket.subject_tags, ticket.lora)
    if (arrays.tags, arrays.rows.shape) != (wanted.tags, wanted.rows.shape) or (
        arrays.branches.shape[1:] != wanted.branches.shape[1:]
    ):
        raise RoundError(
            f"the LoRA state has {len(arrays.tags)} rows of {arrays.rows.shape[1]} codes, and other tags or codes than "
            f"the ticket's {len(wanted.tags)} of {wanted.rows.shape[1]}"
        )
    branches, rows = (torch.from_numpy(codes * 2.0**-SCALE_BITS) for codes in (arrays.branches, arrays.rows))
    return branches if len(branches) else torch.zeros(1, 0, ticket.lora.rank, dtype=torch.float64), rows
