"""Verdicts of a certificate, as far as its receipts can bear them out."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from reram_fleet.v1.types_pb2 import ForgetCommand

from fleet.trust.certificate import Certificate
from fleet.trust.checks import CheckLine, compare

EXACT, APPROXIMATE, NOTHING_HELD = "EXACT", "APPROXIMATE", "NOTHING HELD"
#: What the crossbars of nodes that generate know.
_BACKBONE = "backbone"

#: What may be said of a kind of adapter of which something was held.
_MAY_SAY = {
    "subject-adapter": (EXACT,),
    "closed-form-head": (EXACT,),
    "cohort-lora": (EXACT,),
    "shared-lora": (EXACT, APPROXIMATE),
    _BACKBONE: ("MASKED", "REFUSED"),
}


def verdict_lines(content: Certificate) -> Iterator[CheckLine]:
    """Check the verdicts against what the nodes' receipts say that they erased.

    Whether anybody was there to forget can be told. How a head or a LoRA was made without the person cannot: that is
    the signer's word, as the certificate's limits say.
    """
    tags, planted = content.subject_tags, content.planted_tags
    yield CheckLine(
        "planted probe",
        len(planted) <= 1 and set(planted) < set(tags),
        "at most one of the tags, beside others",
        ", ".join(planted) or "none",
    )
    kinds = [verdict.adapter_kind for verdict in content.verdicts]
    yield compare("verdicts: one for each kind of adapter", len(set(kinds)), len(kinds))
    concepts = _concepts(content)
    if concepts or _BACKBONE in kinds:
        yield compare("verdict backbone: concepts that the command names", 1, concepts)
        said, allowed = [f"{each.adapter_kind} {each.verdict}" for each in content.verdicts], _MAY_SAY[_BACKBONE]
        yield CheckLine(
            "verdicts of a concept",
            said in [[f"{_BACKBONE} {verdict}"] for verdict in allowed],
            f"{_BACKBONE} {' or '.join(allowed)}, nothing else",
            ", ".join(said),
        )
        return
    # With all receipts beside it, that number is checked; without, it is the signer's word.
    erasing = content.summary.erasing
    if [verdict.verdict for verdict in content.verdicts] == [NOTHING_HELD]:
        yield compare("verdict: nodes that erased more than the planted probe", 0, erasing)
        return
    yield compare("verdict subject-adapter", "one", "one" if "subject-adapter" in kinds else "none")
    for verdict in content.verdicts:
        allowed = _MAY_SAY.get(verdict.adapter_kind, ())
        name = f"verdict {verdict.adapter_kind}"
        yield CheckLine(name, verdict.verdict in allowed, " or ".join(allowed) or "no such kind", verdict.verdict)
    # A node that was given up may be the only one that held somebody.
    held_by = erasing + len(content.summary.excepted)
    yield CheckLine(
        "verdict: something was held",
        held_by > 0,
        f"a receipt that erases more than the planted probe, else {NOTHING_HELD}",
        f"{held_by} node(s)",
    )


def _concepts(content: Certificate) -> int:
    """Return how many concepts the signed command names; 0 if it cannot be read: another line says so."""
    try:
        return len(ForgetCommand.FromString(content.command.envelope.payload).concepts)
    except DecodeError:
        return 0
