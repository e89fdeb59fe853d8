"""Round of learning on a batch of nodes: from captured codes and a ticket to the state that goes back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    JobTicket,
    LoraState,
)
from torch import Tensor

from edge_node.errors import RoundError
from edge_node.recognition.bank import AdapterBank, check_shape
from edge_node.recognition.lora.output_layer import project, project_public
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training import logistic, neggrad, state
from edge_node.recognition.training.batch import NodeBatch, PreparedNode
from edge_node.recognition.training.exact import PROJECTED_BITS, class_weights, on_grid
from edge_node.recognition.training.logistic import BASE_BITS, GAIN, OWN_SHARE, LabelledSamples
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
        """Key that requests of one batch share: kind, LoRA shape and rows."""
        ticket = self.ticket
        return ticket.kind, ticket.lora.SerializeToString(deterministic=True), tuple(ticket.subject_tags)


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
    first, batch = requests[0].ticket, requests[0].batch
    for request in requests:
        if request.ticket.kind not in KINDS:
            raise RoundError(f"learning kind {request.ticket.kind} is not one that an engine can run")
        if request.batch != batch:
            raise RoundError("requests of one batch differ in kind, LoRA shape or rows: run them apart")
    nodes = [_prepare(calibration, banks[request.node], request) for request in requests]
    together = NodeBatch.of(nodes)
    before, known = torch.stack([n.b for n in nodes]), torch.stack([n.known for n in nodes])
    # All other rows have weight 0, on a node all but a few: its own come first, and these alone are computed with.
    own = known.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(known.sum(dim=1).max()))]
    rows = own[:, :, None].expand(-1, -1, before.shape[2])
    samples = together.of_rows(own)
    after, changed = before, torch.zeros_like(known)
    if first.kind == LEARNING_KIND_TRAIN_LORA:
        trained = logistic.train(before.gather(1, rows), samples, known.gather(1, own))
        after, changed = before.scatter(1, rows, trained), known
    elif first.kind == LEARNING_KIND_UNLEARN_LORA:
        after, changed = _unlearn(together, requests, before)
    metrics = [
        {f"loss_{when}": loss} | {f"{name}_{when}": value for name, value in quality.items()}
        for when, b in (("before", before), ("after", after))
        for loss, quality in zip(samples.loss(b.gather(1, rows)).tolist(), together.quality(b), strict=True)
    ]
    return [
        RoundResult(
            state.encode(list(request.ticket.subject_tags), after[i], changed[i]),
            len(node.projected),
            metrics[i] | metrics[i + len(nodes)],
        )
        for i, (node, request) in enumerate(zip(nodes, requests, strict=True))
    ]


def _unlearn(batch: NodeBatch, requests: Sequence[RoundRequest], before: Tensor) -> tuple[Tensor, Tensor]:
    """Repair the remaining rows and set the forgotten ones to zero.

    A node without forgotten samples has nothing to repair: its rows go back as they came, with the weight of
    an untrained row, so that its average does not undo what the others do.
    """
    forgotten = torch.tensor(
        [[tag in set(r.ticket.forget_tags) for tag in r.ticket.subject_tags] for r in requests], dtype=torch.bool
    )
    after, repaired = before.masked_fill(forgotten[:, :, None], 0.0), batch.scored & ~forgotten
    some = batch.hidden.any(dim=1)
    repaired &= some[:, None]
    if bool(some.any()):
        after[some] = neggrad.unlearn(
            after[some],
            LabelledSamples(*(tensor[some] for tensor in vars(batch.samples).values())),
            batch.forget_projected[some],
            batch.forget_base[some],
            batch.hidden[some],
            repaired[some],
        )
    return after, repaired | forgotten


def _prepare(calibration: ScoreCalibration, bank: AdapterBank, request: RoundRequest) -> PreparedNode:
    ticket, tags = request.ticket, list(request.ticket.subject_tags)
    check_shape(ticket.lora, bank.features)
    b = state.decode(request.state, tags, ticket.lora.rank).double()
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
    rows, own, gone, rest = (chip.of(torch.cat([none, *vectors])) for vectors in ([means], groups, hidden, others))
    public = len(chip.codes)
    cosine = torch.cat([chip.public_cosine(rows), chip.cosine(own, rows)])
    target = torch.zeros(cosine.shape, dtype=torch.float64)
    whose = [column[tag] for tag, codes in zip(kept, groups, strict=True) for _ in range(len(codes))]
    mine = torch.arange(public, len(cosine)), torch.tensor(whose, dtype=torch.int64)
    target[mine] = 1.0
    cosine[mine] = chip.paired_cosine(own, rest)
    projected = torch.cat([project_public(ticket.lora, chip), project(ticket.lora, chip.unit(own))])
    known = torch.tensor([tag in kept for tag in tags], dtype=torch.bool)
    weight = class_weights(target, torch.ones(len(target), 1), OWN_SHARE)
    return PreparedNode(
        b=b,
        projected=on_grid(projected, PROJECTED_BITS),
        base=on_grid(GAIN * (cosine - threshold), BASE_BITS),
        target=target,
        weight=weight * known,
        known=known,
        scored=scored,
        public=public,
        forget_projected=on_grid(project(ticket.lora, chip.unit(gone)), PROJECTED_BITS),
        forget_base=on_grid(GAIN * (chip.cosine(gone, rows) - threshold), BASE_BITS),
    )
