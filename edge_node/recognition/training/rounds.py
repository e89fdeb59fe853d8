"""Round of learning on a batch of nodes: from captured codes and a ticket to the state that goes back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    JobTicket,
    LoraState,
)
from torch import Tensor
from torch.nn import functional

from edge_node.errors import RoundError
from edge_node.recognition.bank import AdapterBank, check_shape
from edge_node.recognition.lora.output_layer import project
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training import logistic, neggrad, state
from edge_node.recognition.training.exact import PROJECTED_BITS, class_weights, on_grid
from edge_node.recognition.training.logistic import BASE_BITS, GAIN, OWN_SHARE, LabelledSamples

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


@dataclass(frozen=True, eq=False)
class _Prepared:
    """One node's round as tensors, on the grids of `LabelledSamples`; K rows in the ticket's order."""

    b: Tensor
    projected: Tensor
    base: Tensor
    target: Tensor
    weight: Tensor
    known: Tensor
    scored: Tensor
    public: int
    forget_projected: Tensor
    forget_base: Tensor


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
    before = torch.stack([n.b for n in nodes])
    known = torch.stack([n.known for n in nodes])
    # All other rows have weight 0, on a node all but a few: its own come first, and these alone are computed with.
    own = known.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(known.sum(dim=1).max()))]
    rows = own[:, :, None].expand(-1, -1, before.shape[2])
    samples = _samples(nodes, own)
    if first.kind == LEARNING_KIND_TRAIN_LORA:
        trained = logistic.train(before.gather(1, rows), samples, known.gather(1, own))
        after, changed = before.scatter(1, rows, trained), known
    elif first.kind == LEARNING_KIND_UNLEARN_LORA:
        everybody = torch.arange(known.shape[1]).expand_as(known)
        after, changed = _unlearn(nodes, requests, before, _samples(nodes, everybody))
    else:
        after, changed = before, torch.zeros_like(known)
    losses = zip(*(samples.loss(b.gather(1, rows)).tolist() for b in (before, after)), strict=True)
    results = []
    for i, (node, request, (loss_before, loss_after)) in enumerate(zip(nodes, requests, losses, strict=True)):
        metrics = {"loss_before": loss_before, "loss_after": loss_after}
        metrics |= _quality(node, before[i], "_before") | _quality(node, after[i], "_after")
        tags = list(request.ticket.subject_tags)
        results.append(RoundResult(state.encode(tags, after[i], changed[i]), len(node.projected), metrics))
    return results


def _samples(nodes: Sequence[_Prepared], rows: Tensor) -> LabelledSamples:
    """Return the nodes' samples with some rows of each, int64 [N, R]."""
    return LabelledSamples(
        _stack([n.projected for n in nodes]),
        _stack([n.base[:, r] for n, r in zip(nodes, rows, strict=True)]),
        _stack([n.target[:, r] for n, r in zip(nodes, rows, strict=True)]),
        _stack([n.weight[:, r] for n, r in zip(nodes, rows, strict=True)]),
    )


def _unlearn(
    nodes: Sequence[_Prepared], requests: Sequence[RoundRequest], before: Tensor, samples: LabelledSamples
) -> tuple[Tensor, Tensor]:
    """Repair the remaining rows and set the forgotten ones to zero.

    A node without forgotten samples has nothing to repair: its rows go back as they came, with the weight of
    an untrained row, so that its average does not undo what the others do.
    """
    forgotten = torch.tensor(
        [[tag in set(r.ticket.forget_tags) for tag in r.ticket.subject_tags] for r in requests], dtype=torch.bool
    )
    counts = torch.tensor([len(n.forget_projected) for n in nodes])
    repaired = torch.stack([n.scored for n in nodes]) & ~forgotten & (counts > 0)[:, None]
    projected, base = _stack([n.forget_projected for n in nodes]), _stack([n.forget_base for n in nodes])
    present = torch.arange(projected.shape[1])[None] < counts[:, None]
    start = before.masked_fill(forgotten[:, :, None], 0.0)
    return neggrad.unlearn(start, samples, projected, base, present, repaired), repaired | forgotten


def _prepare(calibration: ScoreCalibration, bank: AdapterBank, request: RoundRequest) -> _Prepared:
    ticket, at = request.ticket, [request.node]
    tags = list(ticket.subject_tags)
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
    whitening = calibration.whitening
    # A mean's length does not matter to a cosine, so the sum stands for it.
    rows = whitening.unit(means[None], at)[0]
    threshold = float(calibration.accept_threshold[request.node])

    public = calibration.public_codes[request.node]
    groups = [request.samples[tag].to(torch.int64) for tag in kept] + [public.to(torch.int64)]
    unit = whitening.unit(torch.cat(groups)[None], at)[0]
    cosine = unit @ rows.mT
    target = torch.zeros(len(unit), len(tags), dtype=torch.float64)
    start = 0
    for tag, codes in zip(kept, groups, strict=False):
        part, k = slice(start, start + len(codes)), column[tag]
        target[part, k] = 1.0
        index = enrolled[tag]
        if int(sample_counts[index]) > 1:
            rest = whitening.unit((sums[index] - codes)[None], at)[0]
            cosine[part, k] = (unit[part] * rest).sum(dim=-1)
        start += len(codes)
    known = torch.tensor([tag in kept for tag in tags], dtype=torch.bool)
    weight = class_weights(target, torch.ones(len(unit), 1), OWN_SHARE)

    hidden = [request.forget[tag] for tag in sorted(request.forget) if tag in forgotten]
    codes = torch.cat(hidden) if hidden else torch.zeros(0, bank.features, dtype=torch.int64)
    forget_unit = whitening.unit(codes[None], at)[0]
    return _Prepared(
        b=b,
        projected=on_grid(project(ticket.lora, unit), PROJECTED_BITS),
        base=on_grid(GAIN * (cosine - threshold), BASE_BITS),
        target=target,
        weight=weight * known,
        known=known,
        scored=scored,
        public=len(public),
        forget_projected=on_grid(project(ticket.lora, forget_unit), PROJECTED_BITS),
        forget_base=on_grid(GAIN * (forget_unit @ rows.mT - threshold), BASE_BITS),
    )


def _quality(node: _Prepared, b: Tensor, suffix: str) -> dict[str, float]:
    """Return how B treats the node's samples; only rows that it can score take part.

    Rates of what not every node has are left out where there is none. So what a repair is judged by comes as
    counts and sums divided by the node's number of examples: the mean over nodes, which is weighted by that
    number, then has the totals' proportions, also when few nodes hold such samples.
    """
    examples, scored = len(node.projected), node.scored
    own = examples - node.public
    logits = logistic.logits(b, node.projected, node.base)[:, scored]
    if not bool(scored.any()):
        logits = torch.full((examples, 1), -torch.inf, dtype=torch.float64)
    best = logits.max(dim=1)
    hits = 0.0
    quality = {"public_accept_rate": float((best.values[own:] >= 0).float().mean())}
    if own and bool(scored.any()):
        hits = float(node.target[:own, scored].gather(1, best.indices[:own, None]).sum())
        quality["accuracy"] = hits / own
        quality["accept_rate"] = float((best.values[:own] >= 0).float().mean())
    sums = {"kept_samples": float(own), "kept_hits": hits} | _treatment_of_forgotten(node, b, best.values[own:])
    quality |= {name: value / examples for name, value in sums.items()}
    return {name + suffix: value for name, value in quality.items()}


def _treatment_of_forgotten(node: _Prepared, b: Tensor, public_best: Tensor) -> dict[str, float]:
    """Return counts and sums over the forgotten people's samples: with B, and by the exact parts alone (B = 0).

    The shift is what B adds to a sample's best logit, less what it adds to a public sample's on average.
    """
    best = best_exact = node.forget_base.new_zeros(0)
    shift = 0.0
    if bool(node.scored.any()):
        best_exact = node.forget_base[:, node.scored].amax(dim=1)
        best = logistic.logits(b, node.forget_projected, node.forget_base)[:, node.scored].amax(dim=1)
        public_exact = node.base[-node.public :, node.scored].amax(dim=1)
        of_public = float((public_best - public_exact).sum()) / node.public
        shift = float((best - best_exact).sum()) - len(best) * of_public
    return {
        "forget_samples": float(len(best)),
        "forget_accepted": float((best >= 0).sum()),
        "forget_accepted_exactly": float((best_exact >= 0).sum()),
        "forget_above_hinge": float((best > neggrad.HINGE).sum()),
        "forget_shift": shift,
    }


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack [S_n, ...] tensors along a node axis, padded with zeros to the longest."""
    longest = max(len(t) for t in tensors)
    return torch.stack([functional.pad(t, (0, 0, 0, longest - len(t))) for t in tensors])
