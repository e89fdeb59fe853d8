"""Pictures with what they show, and in which style."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class LabelledImages:
    """Images of some classes."""

    #: Colour levels 0 to 255, uint8 ``[B, 24, 24, 3]``.
    levels: Tensor
    #: Class of each, and its style: int64 ``[B]``.
    labels: Tensor
    styles: Tensor

    def where(self, mask: Tensor) -> LabelledImages:
        """Return the images of a mask, bool ``[B]``."""
        return LabelledImages(self.levels[mask], self.labels[mask], self.styles[mask])

    def of(self, label: int) -> LabelledImages:
        """Return the images of one class."""
        return self.where(self.labels == label)
