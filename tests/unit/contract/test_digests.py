"""Digests: the same in whatever order adapters come, others for whatever differs, and for ever the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reram_fleet.crypto.digests import (
    NO_HEAD,
    NO_LORA,
    adapters_digest,
    head_digest,
    lora_digest,
    revision_digest,
    subject_digest,
    subject_digests,
)
from reram_fleet.v1.types_pb2 import (
    SUBJECT_ADAPTER_KIND_TRAINED,
    ClosedFormHead,
    LoraRow,
    LoraShape,
    RevisionContent,
    SharedLora,
    SubjectAdapter,
)

SHAPE = LoraShape(features=4, rank=2, alpha=2.0, a_seed=7, scale_bits=16)
SUBJECTS = [SubjectAdapter(subject_tag=f"{k:032x}", count=k, code_sum=[k, -k, 2**40 + k, 0]) for k in (1, 2, 3)]
ROWS = [LoraRow(subject_tag=f"{k:032x}", codes=[k, -k]) for k in (1, 2, 3)]
HEAD = ClosedFormHead(
    subject_tags=[f"{k:032x}" for k in (1, 2)], features=4, codes=bytes(range(32)), scale_bits=34, threshold=2**33
)
CONTENT = RevisionContent(subjects=SUBJECTS, shared_lora=SharedLora(shape=SHAPE, rows=ROWS))


def test_trained_adapter_is_another_than_a_sum_of_the_same_integers() -> None:
    trained = SubjectAdapter(kind=SUBJECT_ADAPTER_KIND_TRAINED)
    trained.MergeFrom(SUBJECTS[0])

    assert subject_digest(trained) != subject_digest(SUBJECTS[0])


def test_digests_are_pinned() -> None:
    # Nodes, coordinators and receipts of different versions compare them: a change here breaks them all.
    assert [
        digest.hex()
        for digest in (
            subject_digest(SUBJECTS[0]),
            lora_digest(CONTENT.shared_lora),
            revision_digest(CONTENT),
            revision_digest(RevisionContent()),
        )
    ] == [
        "076fe21e71eb5370895edd6e022111d911ddc294406441178063fe84ea2606da",
        "abb3ee12a95216f7210c98ce6b70a757e896cce18d2762372356b518e1458494",
        "d3051840b4d7255151a8649ea234a31604313026f3f2ec186fa4302a1b03f882",
        "cf3019c9095dc3282fe53b85447be164b4bc898550daf2bad2d9a539f5e527e2",
    ]


@given(st.permutations(SUBJECTS), st.permutations(ROWS))
def test_digest_does_not_depend_on_the_order(subjects: list[SubjectAdapter], rows: list[LoraRow]) -> None:
    shuffled = RevisionContent(subjects=subjects, shared_lora=SharedLora(shape=SHAPE, rows=rows))
    assert revision_digest(shuffled) == revision_digest(CONTENT)


@pytest.mark.parametrize(
    "change",
    [
        {"subject_tag": "f" * 32},
        {"count": 4},
        {"code_sum": [1, -1, 2**40 + 1, 1]},
        {"code_sum": [1, -1, 2**40 + 1]},
        {"code_sum": []},
    ],
)
def test_whatever_differs_in_an_adapter_changes_its_digest(change: dict[str, object]) -> None:
    fields = {"subject_tag": f"{1:032x}", "count": 1, "code_sum": [1, -1, 2**40 + 1, 0]}
    assert subject_digest(SubjectAdapter(**fields)) == subject_digest(SUBJECTS[0])
    assert subject_digest(SubjectAdapter(**{**fields, **change})) != subject_digest(SUBJECTS[0])


@pytest.mark.parametrize("field", ["features", "rank", "alpha", "a_seed", "scale_bits"])
def test_whatever_differs_in_its_shape_changes_the_digest_of_a_lora(field: str) -> None:
    shape = LoraShape()
    shape.CopyFrom(SHAPE)
    setattr(shape, field, getattr(SHAPE, field) + 1)
    assert lora_digest(SharedLora(shape=shape, rows=ROWS)) != lora_digest(CONTENT.shared_lora)


def test_lora_without_rows_is_no_lora() -> None:
    assert lora_digest(SharedLora(shape=SHAPE)) == NO_LORA


def test_lora_without_one_row_is_another_lora() -> None:
    assert lora_digest(SharedLora(shape=SHAPE, rows=ROWS[:2])) != lora_digest(CONTENT.shared_lora)


def test_revision_digest_is_made_of_the_digests_that_a_receipt_lists() -> None:
    parts = subject_digests(reversed(SUBJECTS))
    assert [part.subject_tag for part in parts] == sorted(s.subject_tag for s in SUBJECTS)
    assert adapters_digest(reversed(parts), lora_digest(CONTENT.shared_lora)) == revision_digest(CONTENT)


def test_digest_of_a_head_is_pinned() -> None:
    found = head_digest(HEAD), revision_digest(RevisionContent(subjects=SUBJECTS, head=HEAD))
    assert [digest.hex() for digest in found] == [
        "a46b7111467afc5f25cf3d6220f536fc8e1d594c97fe0abe31825f3dea4d278e",
        "181639c3a88856958fed8bbe82912e0aa990efa22f55793cccf1d0669036cb0a",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"subject_tags": [f"{k:032x}" for k in (1, 3)]},
        {"features": 5},
        {"codes": bytes(range(1, 33))},
        {"scale_bits": 33},
        {"threshold": 2**33 + 1},
    ],
)
def test_whatever_differs_in_a_head_changes_its_digest(change: dict[str, object]) -> None:
    fields = {field.name: value for field, value in HEAD.ListFields()}
    assert head_digest(ClosedFormHead(**fields)) == head_digest(HEAD)
    assert head_digest(ClosedFormHead(**{**fields, **change})) != head_digest(HEAD)


def test_revision_without_a_head_has_the_digest_of_before_there_were_heads() -> None:
    assert head_digest(ClosedFormHead(features=4)) == NO_HEAD
    empty = RevisionContent(subjects=SUBJECTS, shared_lora=CONTENT.shared_lora, head=ClosedFormHead())
    assert revision_digest(empty) == revision_digest(CONTENT)
