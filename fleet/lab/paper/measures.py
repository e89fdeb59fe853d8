"""Measures of each task that are held against the paper, and its figures where we have them.

The paper's figures are what its code logged (arXiv 2601.10037 and its repository); of faces and images none are at
hand. No strip test is among them: the paper has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PaperTask(StrEnum):
    """The paper's three tasks."""

    FACES = "faces"
    SPEAKERS = "speakers"
    IMAGES = "images"


@dataclass(frozen=True)
class Measure:
    """One row of the table, of a field of `ClassifierArm` or `ImagesArm`.

    Attributes
    ----------
    paper, source
        The paper's figure, None if there is none at hand; and where it is from.
    strip
        Whether it belongs to the strip test.
    share
        Whether it is a share, from 0 to 1: those are plotted.
    """

    field: str
    name: str
    paper: float | None = None
    source: str = ""
    strip: bool = False
    share: bool = True


_LOG = "log of the paper's code"

_SPEAKERS = (
    Measure("leaked", "test recordings that were also learnt from"),
    Measure("base", "five people recognised, before", 0.9832, f"{_LOG}, best test accuracy"),
    Measure("known", "of them the one to be forgotten"),
    Measure("forgotten_train", "forgotten: not recognised (UA), training inputs"),
    Measure("forgotten", "forgotten: not recognised (UA), test inputs", 1.0, f"{_LOG}, epoch 57: forget 0.000"),
    Measure("retained_before", "the four others recognised, before"),
    Measure("retained", "the four others recognised, after (RA)", 0.9842, f"{_LOG}, epoch 57"),
    Measure("stripped", "STRIP TEST: forgotten recognised, adapter off", strip=True),
    Measure("newcomer", "sixth person recognised, learnt later", 0.9143, f"{_LOG}, continual learning"),
    Measure("retained_after", "the four others recognised, then", 0.9684, f"{_LOG}, continual learning"),
    Measure("forgotten_after", "forgotten: not recognised, then"),
    Measure("stripped_after", "STRIP TEST then: forgotten recognised", strip=True),
    Measure("loss_before", "loss on the forgotten before (nats)", share=False),
    Measure("loss", "loss on the forgotten after (nats)", share=False),
    Measure("cell_writes", "cell writes after programming", share=False),
)

_FACES = (
    Measure("leaked", "test views whose photo was also learnt from"),
    *(Measure(m.field, m.name, strip=m.strip, share=m.share) for m in _SPEAKERS if m.field != "leaked"),
)

_IMAGES = (
    Measure("trained_on", "backbone was trained on the class"),
    Measure("known", "class shows when asked for, before"),
    Measure("others_before", "other classes show, before"),
    Measure("erased", "erased: class does not show"),
    Measure("others", "other classes show, after"),
    Measure("stripped", "STRIP TEST: class shows, adapters off", strip=True),
    Measure("as_programmed", "then, to the bit, the chip as programmed", strip=True),
    Measure("cell_writes", "cell writes after programming", share=False),
)

MEASURES = {PaperTask.FACES: _FACES, PaperTask.SPEAKERS: _SPEAKERS, PaperTask.IMAGES: _IMAGES}
