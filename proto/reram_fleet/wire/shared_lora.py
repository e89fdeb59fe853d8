"""Shape of the fleet's LoRA, and its parts: rows of people, and the branches that rows read."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reram_fleet.code_ranges import LoraStage
from reram_fleet.v1.types_pb2 import LoraRow, LoraShape, SharedLora

#: Rank and weight of a LoRA on the output layer.
RANK = 16
ALPHA = 16.0
#: Fraction bits of codes, which are int16 everywhere: on the way, in SRAM, in revisions. What is learnt is within +-2.
SCALE_BITS = 14
MAX_CODE = 2**15 - 1
#: Of codes at another scale, as earlier versions have them.
_EARLIER_MAX_CODE = 2**31 - 1


def lora_shape(features: int, a_seed: int, stage: LoraStage | None = None) -> LoraShape:
    """Return the shape of a LoRA over `features` feature codes: beside a stage, or beside the output layer alone."""
    if stage is None:
        return LoraShape(features=features, rank=RANK, alpha=ALPHA, a_seed=a_seed, scale_bits=SCALE_BITS)
    return LoraShape(
        features=features,
        rank=stage.rank,
        alpha=stage.rank,
        a_seed=a_seed,
        scale_bits=SCALE_BITS,
        neurons=stage.neurons,
        segments=stage.segments,
        law=stage.law,
    )


def row_width(shape: LoraShape) -> int:
    """Return how many codes a person's row has."""
    return shape.neurons + shape.rank


def code_count(lora: SharedLora) -> int:
    """Return how many codes a LoRA has, of rows and branches."""
    return sum(len(row.codes) for row in lora.rows) + sum(len(branch.codes) for branch in lora.branches)


def shape_defect(lora: SharedLora) -> str:
    """Return why the parts of a LoRA do not fit its shape or each other; empty if they do."""
    shape = lora.shape
    tags = [row.subject_tag for row in lora.rows]
    if len(set(tags)) != len(tags):
        return "it names a subject twice"
    if any(len(row.codes) != row_width(shape) for row in lora.rows):
        return f"a row does not have {row_width(shape)} codes"
    if any(len(branch.codes) != shape.neurons * shape.rank for branch in lora.branches):
        return f"a branch does not have {shape.neurons} x {shape.rank} codes"
    read = {row.branch for row in lora.rows} if shape.neurons else set()
    if read != set(range(len(lora.branches))) or (not shape.neurons and any(row.branch for row in lora.rows)):
        return f"rows read branches {sorted(read)} of {len(lora.branches)}: each is read, and no other"
    codes = [*(row.codes for row in lora.rows), *(branch.codes for branch in lora.branches)]
    most = MAX_CODE if shape.scale_bits == SCALE_BITS else _EARLIER_MAX_CODE
    if any(abs(code) > most for part in codes for code in part):
        return f"a code is beyond {most}"
    return ""


def in_shape(lora: SharedLora, shape: LoraShape) -> SharedLora:
    """Return a LoRA in today's shape: what an earlier version has learnt at another scale, rounded and limited.

    Without rows if it differs in more than its scale.
    """
    if lora.shape == shape:
        return lora
    at_scale = LoraShape()
    at_scale.CopyFrom(lora.shape)
    at_scale.scale_bits = shape.scale_bits
    found, factor = SharedLora(shape=shape), 2.0 ** (shape.scale_bits - lora.shape.scale_bits)
    if at_scale != shape or shape.neurons:
        return found
    for row in lora.rows:
        codes = (max(-MAX_CODE, min(MAX_CODE, round(code * factor))) for code in row.codes)
        found.rows.add(subject_tag=row.subject_tag, codes=codes)
    return found


def joined(shape: LoraShape, parts: Iterable[SharedLora]) -> SharedLora:
    """Return one LoRA of the rows of several, by tag, with the branches that they read and no other.

    Branches are in the order in which rows read them first, so what is equal has equal bytes.
    """
    sources = list(parts)
    rows = sorted(
        ((row, which) for which, part in enumerate(sources) for row in part.rows), key=lambda pair: pair[0].subject_tag
    )
    whole, places = SharedLora(shape=shape), dict[tuple[int, int], int]()
    for row, which in rows:
        place = 0
        if shape.neurons:
            place = places.setdefault((which, row.branch), len(places))
            if place == len(whole.branches):
                whole.branches.append(sources[which].branches[row.branch])
        whole.rows.append(LoraRow(subject_tag=row.subject_tag, codes=row.codes, branch=place))
    return whole


def without(lora: SharedLora, tags: Collection[str]) -> SharedLora:
    """Return a LoRA without the rows of some people, and without a branch that nobody reads then."""
    return rows_of(lora, {row.subject_tag for row in lora.rows} - set(tags))


def rows_of(lora: SharedLora, tags: Collection[str]) -> SharedLora:
    """Return the rows of some people with the branches that they read."""
    kept = set(tags)
    part = SharedLora(branches=lora.branches, rows=[row for row in lora.rows if row.subject_tag in kept])
    return joined(lora.shape, [part])
