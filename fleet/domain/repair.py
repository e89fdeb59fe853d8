"""Judging a repaired shared LoRA by what nodes measured with it: accepted, or rejected by the failed lines.

In a fleet there is no model that was retrained without the person to compare with. But there is one that
never knew them: the exact adapters alone, without any LoRA. So a repair is held against those, on the
forgotten person's own samples, which nodes keep sealed until it is accepted. A rejected repair is not tried
again: the LoRA is dropped, which leaves the exact adapters (docs/adr/0011).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Share of the forgotten samples that may be accepted as somebody with the LoRA beyond those without it.
ACCEPTED = 0.02
#: Logits by which the LoRA may push the forgotten samples further down than public people's samples: rejected too
#: well is conspicuous. A tenth of a cosine.
SHIFT = 1.0
#: Accuracy on the kept people's samples that a repair may cost.
ACCURACY = 0.02
#: Ends the name of what was measured before the first round of a repair.
START = "_start"


@dataclass(frozen=True)
class RepairLine:
    """One line of the verdict."""

    name: str
    #: None if nobody measured it.
    value: float | None
    #: In words.
    limit: str
    passed: bool

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.3g}"
        return f"{self.name} {value} ({self.limit})"


def judge_repair(metrics: Mapping[str, float]) -> tuple[RepairLine, ...]:
    """Return the lines of the verdict on a repair.

    The metrics are means over nodes of the round that verified it (`edge_node.recognition.training.rounds`), and those
    of before the first round with names that end in `START`.
    """
    samples = metrics.get("forget_samples_after", 0.0)
    seen = RepairLine("samples of the forgotten, per example", samples, "some node that holds them looked", samples > 0)
    if not seen.passed:
        return (seen,)

    named = _rate(metrics, "forget_accepted_after", "forget_samples_after")
    exactly = _rate(metrics, "forget_accepted_exactly_after", "forget_samples_after")
    shift = _rate(metrics, "forget_shift_after", "forget_samples_after")
    before = _rate(metrics, "kept_hits" + START, "kept_samples" + START)
    after = _rate(metrics, "kept_hits_after", "kept_samples_after")
    return (
        seen,
        _line(
            "forgotten samples accepted, beyond the exact adapters alone",
            None if named is None or exactly is None else named - exactly,
            ACCEPTED,
        ),
        _line("forgotten samples pushed below public ones, logits", None if shift is None else -shift, SHIFT),
        _line("accuracy on kept people lost", None if before is None or after is None else before - after, ACCURACY),
    )


def accepted(lines: tuple[RepairLine, ...]) -> bool:
    """Whether every line passed."""
    return all(line.passed for line in lines)


def _rate(metrics: Mapping[str, float], count: str, of: str) -> float | None:
    """Return a proportion of two figures that are both per example; None if it was not measured."""
    return metrics[count] / metrics[of] if count in metrics and metrics.get(of) else None


def _line(name: str, value: float | None, at_most: float) -> RepairLine:
    # Float32 shares of few samples: a limit must not fail by a rounding.
    passed = value is not None and value <= at_most + 1e-6
    return RepairLine(name, value, f"at most {at_most:g}", passed)
