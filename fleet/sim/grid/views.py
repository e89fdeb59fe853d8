"""Views of a batch as Flower's records: nothing is copied or serialised before somebody asks for bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
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
        # Past the setter of `Array`, which keeps account of changes.
        object.__setattr__(self, "_batch", batch)
        object.__setattr__(self, "_index", index)

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


class NodeViews(MutableMapping[str, Array]):
    """One node's parts of named arrays over the node axis: what an `ArrayRecord` of its reply holds.

    Views are made when asked for and kept by nobody, which is cheaper than keeping them; only what is changed is kept.
    """

    __slots__ = ("_batches", "_changed", "_index")

    def __init__(self, batches: Mapping[str, npt.NDArray[Any]], index: int) -> None:
        self._batches, self._index = batches, index
        self._changed: dict[str, Array] | None = None

    def __getitem__(self, name: str) -> Array:
        return ArrayView(self._batches[name], self._index) if self._changed is None else self._changed[name]

    def __setitem__(self, name: str, value: Array) -> None:
        self._own()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._own()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batches if self._changed is None else self._changed)

    def __len__(self) -> int:
        return len(self._batches if self._changed is None else self._changed)

    def copy(self) -> MutableMapping[str, Array]:
        """Return a copy, as that of a dictionary."""
        return dict(self)

    def _own(self) -> dict[str, Array]:
        if self._changed is None:
            self._changed = dict(self)
        return self._changed
