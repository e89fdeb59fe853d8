"""Nodes with statistics and public codes, and the head that must follow from them."""

from __future__ import annotations

import numpy as np
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.metrics import registry
from fleet.coordinator.testing import FEATURES, SimulatedNode, SteppedCoordinator
from fleet.heads.enrolment import CodeSum, SufficientStatistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics, total

#: Four public people, three samples each.
PERSON = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def captured(seed: int, samples: int = 3, largest: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest, (samples, FEATURES)).astype(np.int32)


def public_of(seed: int) -> np.ndarray:
    return np.random.default_rng(900 + seed).integers(-3000, 3000, (len(PERSON), FEATURES)).astype(np.int16)


def make_node(
    coordinator: SteppedCoordinator, node_id: str, people: dict[str, int], *, public: int | None = 0
) -> SimulatedNode:
    """Enrol a node with people (tag to seed of their codes); connect it with `converse`."""
    node = SimulatedNode(node_id)
    coordinator.enroll(node)
    for tag, seed in people.items():
        node.capture_codes(tag, captured(seed))
    if public is not None:
        node.show_public(public_of(public), PERSON)
    return node


def expected_head(people: dict[str, list[int]], public: list[int]) -> types.ClosedFormHead:
    """Solve, from codes, what the coordinator must come to."""
    together = {tag: HeadStatistics.of(np.concatenate([captured(s) for s in seeds])) for tag, seeds in people.items()}
    codes = np.stack([public_of(seed) for seed in public]).astype(np.int32)
    solved = SufficientStatistics(
        PublicCodes(codes, np.array(PERSON)),
        total(list(together.values()), FEATURES),
        {tag: CodeSum(s.code_sum, s.count) for tag, s in together.items()},
    ).build()
    return types.ClosedFormHead(
        subject_tags=solved.tags,
        features=FEATURES,
        codes=solved.codes.astype("<i4").tobytes(),
        scale_bits=solved.scale_bits,
        threshold=solved.threshold,
    )


def metric(coordinator: SteppedCoordinator, name: str) -> float | None:
    return registry(coordinator.coordinator).get_sample_value(name)
