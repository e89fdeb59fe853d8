"""How well a fleet tells people apart, and what is left of somebody after a forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.recognition.engine import Engine, Identification
from hwmodel import Phase


@dataclass(frozen=True)
class NodeQuality:
    """Rates of one node on clips that it has not been taught with; shares of 1.

    Attributes
    ----------
    accuracy, accuracy_subject_only
        Closed-set identification of the enrolled people, with and without the LoRA.
    accept_rate
        Enrolled people's clips that are accepted.
    stranger_accept_rate
        Clips of people who were never enrolled that are accepted as somebody.
    forget_accuracy, forget_accept_rate
        Forgotten people's clips identified as them, and accepted as anybody; 0 if nobody was forgotten.
    """

    accuracy: float
    accuracy_subject_only: float
    accept_rate: float
    stranger_accept_rate: float
    forget_accuracy: float
    forget_accept_rate: float


def measure(
    engine: Engine, enrolled: Mapping[str, Tensor], strangers: Tensor, forgotten: Mapping[str, Tensor]
) -> list[NodeQuality]:
    """Measure every node of an engine; charged to `Phase.VERIFY`.

    Parameters
    ----------
    engine
        With its adapters installed.
    enrolled, forgotten
        Test codes by subject tag, int32 [N, B, features].
    strangers
        Test codes of people who were never enrolled.
    """
    stranger = engine.identify(strangers, Phase.VERIFY)
    kept = {tag: engine.identify(codes, Phase.VERIFY) for tag, codes in enrolled.items()}
    gone = {tag: engine.identify(codes, Phase.VERIFY) for tag, codes in forgotten.items()}
    return [
        NodeQuality(
            accuracy=_hits(kept, node, [a.best_tag for a in kept.values()]),
            accuracy_subject_only=_hits(kept, node, [a.best_tag_subject_only for a in kept.values()]),
            accept_rate=_accepted(list(kept.values()), node),
            stranger_accept_rate=_accepted([stranger], node),
            forget_accuracy=_hits(gone, node, [a.best_tag for a in gone.values()]),
            forget_accept_rate=_accepted(list(gone.values()), node),
        )
        for node in range(len(engine.node_ids))
    ]


def _hits(answers: Mapping[str, Identification], node: int, named: Sequence[tuple[tuple[str, ...], ...]]) -> float:
    hits = [best == tag for tag, names in zip(answers, named, strict=True) for best in names[node]]
    return sum(hits) / len(hits) if hits else 0.0


def _accepted(answers: Sequence[Identification], node: int) -> float:
    if not answers:
        return 0.0
    return float(torch.cat([a.accepted[node] for a in answers]).double().mean())
