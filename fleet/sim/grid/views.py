"""Views of a batch as Flower's records: nothing is copied or serialised before somebody asks for bytes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array

from fleet.sim.grid.flower_adapter import NUMPY_BYTES


class ArrayView(Array):
    """One node's part of an array over the node axis, as a Flower `Array`.

    `numpy()` is a view into the batch; `data` are the bytes that Flower's own `Array` would hold, made when asked for.
    """

    _batch: npt.NDArray[Any]
    _index: int

    def __init__(self, batch: npt.NDArray[Any], index: int) -> None:
        self.__dict__["_batch"], self.__dict__["_index"] = batch, index

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """Name of the type of numbers."""
        return str(self._batch.dtype)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Shape without the node axis."""
        return tuple(self._batch.shape[1:])

    @property
    def stype(self) -> str:  # type: ignore[override]
        """Format of `data`."""
        return NUMPY_BYTES

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """Bytes of `numpy.save`."""
        buffer = BytesIO()
        np.save(buffer, self.numpy(), allow_pickle=False)
        return buffer.getvalue()

    def deflate(self) -> bytes:
        """Return the bytes of an `Array`: they name its class."""
        return Array(self.numpy()).deflate()

    def numpy(self) -> npt.NDArray[Any]:
        """Return the view."""
        view: npt.NDArray[Any] = self._batch[self._index, ...]
        return view
