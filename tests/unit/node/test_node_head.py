"""The closed-form head on a node: installed with a revision, dropped at once, named in receipts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from reram_fleet.crypto import digests, sealing, signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse, Contribution, PublicCodes, PublicCodesRequest

from edge_node.agent.node import Node
from edge_node.testing import FakeCoordinator
from fleet.heads.packing import open_packed, sum_packed
from fleet.heads.statistics import HeadStatistics

FEATURES = 8
KEPT, GONE = sorted([new_tag(), new_tag()])


def adapter(tag: str, voice: int) -> types.SubjectAdapter:
    return types.SubjectAdapter(subject_tag=tag, count=1, code_sum=[4000 * (k == voice) for k in range(FEATURES)])


def head_of(*tags: str, threshold: int = 1 << 20) -> types.ClosedFormHead:
    codes = np.arange(FEATURES * len(tags), dtype="<i4").reshape(FEATURES, len(tags))
    return types.ClosedFormHead(
        subject_tags=tags, features=FEATURES, codes=codes.tobytes(), scale_bits=24, threshold=threshold
    )


def only(answers, kind):
    return [getattr(answer, kind) for answer in answers if answer.WhichOneof("message") == kind]


def install(node: Node, coordinator: FakeCoordinator, number: int, *tags: str, head: types.ClosedFormHead | None):
    subjects = [adapter(tag, voice) for voice, tag in enumerate(tags)]
    (result,) = only(
        node.receive(coordinator.revision(node.context.keys.identity, number, subjects, head=head)), "revision_result"
    )
    return result


def active_head(node: Node) -> types.ClosedFormHead | None:
    return node.context.engine.active_head(0)


def test_head_of_a_revision_is_active_and_survives_a_restart(
    node: Node, coordinator: FakeCoordinator, restart: Callable[[], Node]
) -> None:
    assert install(node, coordinator, 1, KEPT, GONE, head=head_of(KEPT, GONE)).active
    assert active_head(node) == head_of(KEPT, GONE)
    assert active_head(restart()) == head_of(KEPT, GONE)


def test_revision_without_a_head_takes_the_present_one_away(node: Node, coordinator: FakeCoordinator) -> None:
    install(node, coordinator, 1, KEPT, GONE, head=head_of(KEPT, GONE))
    assert install(node, coordinator, 2, KEPT, GONE, head=None).active
    assert active_head(node) is None


def test_forget_takes_the_column_out_at_once_also_across_a_restart(
    node: Node, coordinator: FakeCoordinator, restart: Callable[[], Node]
) -> None:
    install(node, coordinator, 1, KEPT, GONE, head=head_of(KEPT, GONE))
    coordinator.forget(GONE)
    node.receive(coordinator.log_after(0))
    left = active_head(node)
    assert left is not None
    assert list(left.subject_tags) == [KEPT]
    columns = np.frombuffer(head_of(KEPT, GONE).codes, "<i4").reshape(FEATURES, 2)
    assert left.codes == columns[:, :1].tobytes()
    assert active_head(restart()) == left


def test_receipt_names_the_head_that_is_active(node: Node, coordinator: FakeCoordinator) -> None:
    install(node, coordinator, 1, KEPT, GONE, head=head_of(KEPT, GONE))
    before = node._adapters.digests.all
    coordinator.forget(GONE)
    node.receive(coordinator.log_after(0))
    install(node, coordinator, 2, KEPT, head=head_of(KEPT))
    (envelope,) = only(node.receive(coordinator.erase(1, 2)), "receipt")
    receipt = types.Receipt.FromString(envelope.payload)
    assert receipt.head_digest == digests.head_digest(head_of(KEPT))
    assert receipt.adapters_digest_before == before
    assert receipt.adapters_digest_after == digests.adapters_digest(receipt.active_adapters, b"", receipt.head_digest)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (head_of(KEPT, "f" * 32), "without an adapter"),
        (head_of(KEPT, threshold=0), "threshold"),
        (types.ClosedFormHead(subject_tags=[KEPT], features=4, codes=bytes(16), scale_bits=24, threshold=1), "4"),
    ],
    ids=["stranger", "threshold", "features"],
)
def test_revision_with_a_head_that_does_not_fit_is_refused_whole(
    node: Node, coordinator: FakeCoordinator, head: types.ClosedFormHead, said: str
) -> None:
    install(node, coordinator, 1, KEPT, GONE, head=head_of(KEPT, GONE))
    result = install(node, coordinator, 2, KEPT, GONE, head=head)
    assert not result.active
    assert said in result.refusal
    assert active_head(node) == head_of(KEPT, GONE)
    assert node.status().revision == 1


def test_contribution_carries_statistics_of_exactly_the_samples_of_its_adapter(
    node: Node, coordinator: FakeCoordinator, samples: Callable[..., list[np.ndarray]]
) -> None:
    node.enroll(coordinator.consent(KEPT), samples(2))
    (heartbeat,) = only(node.heartbeat(), "heartbeat")
    answers = node.receive(coordinator.lease(node.node_id, heartbeat.lease_nonce))
    (envelope,) = only(answers, "contribution")
    contribution = Contribution.FromString(envelope.payload)
    about = (coordinator.fleet_id, node.node_id, KEPT)
    sum_ = types.SubjectAdapter.FromString(
        sealing.open_sealed(coordinator.sealing_key, sealing.contribution_purpose(*about), contribution.adapter)
    )
    packed = sealing.open_sealed(coordinator.sealing_key, sealing.statistics_purpose(*about), contribution.statistics)
    statistics = sum_packed([open_packed(packed)])
    codes = np.stack([np.rint(sample.sum(axis=0)).astype(np.int32) for sample in samples(2)])
    assert statistics.equals(HeadStatistics.of(codes))
    assert (list(statistics.code_sum), statistics.count) == (list(sum_.code_sum), sum_.count)


def test_public_codes_are_signed_and_the_same_whenever_they_are_asked_for(
    node: Node, restart: Callable[[], Node]
) -> None:
    def asked(of: Node) -> PublicCodes:
        request = ConnectResponse(public_codes_request=PublicCodesRequest())
        (envelope,) = only(of.receive(request), "public_codes")
        return signing.open_envelope(envelope, PublicCodes, of.context.keys.identity.receipt_public_key)

    first = asked(node)
    codes, person = node.context.engine.public_codes(0)
    assert np.array_equal(np.frombuffer(first.codes, "<i2").reshape(len(first.person), first.features), codes.numpy())
    assert list(first.person) == person.tolist()
    assert asked(node) == asked(restart()) == first
