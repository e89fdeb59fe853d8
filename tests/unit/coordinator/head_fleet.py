"""Nodes with statistics and public codes, and the head that must follow from them."""

from __future__ import annotations

import numpy as np
from reram_fleet.crypto import sealing
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import Contribution

from fleet.coordinator.metrics import registry
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.testing import FEATURES, SteppedCoordinator
from fleet.heads.enrolment import CodeSum, SufficientStatistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics, total
from tests.device import Device
from tests.unit.coordinator.small_fleet import captured

#: Four public people, three samples each.
PERSON = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def public_of(seed: int) -> np.ndarray:
    return np.random.default_rng(900 + seed).integers(-3000, 3000, (len(PERSON), FEATURES)).astype(np.int16)


def make_node(
    coordinator: SteppedCoordinator, node_id: str, people: dict[str, int], *, public: int | None = 0
) -> Device:
    """Enrol a node with people (tag to seed of their codes); connect it with `converse`.

    `public` is the seed of its public codes; None for a node whose public codes never arrive.
    """
    node = Device(node_id)
    coordinator.enroll(node)
    if public is None:
        node.says = lambda message: None if message.HasField("public_codes") else message
    else:
        node.show_public(public_of(public), PERSON)
    for tag, seed in people.items():
        node.capture(tag, captured(seed))
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
    return registry(coordinator.coordinator, CallMeter()).get_sample_value(name)


def send_statistics(node: Device, packed: bytes | None) -> None:
    """Let a node contribute such statistics with everybody whom it enrols from now on; None for no statistics."""

    def change(contribution: Contribution) -> None:
        contribution.ClearField("statistics")
        if packed is not None:
            purpose = sealing.statistics_purpose(node.fleet_id, node.node_id, contribution.subject_tag)
            receiver = node.enrollment.coordinator_sealing_public_key
            contribution.statistics.CopyFrom(sealing.seal(receiver, purpose, packed))

    node.forge("contribution", change)
