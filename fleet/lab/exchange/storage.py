"""Storage of a LoRA's factors in SRAM and in files: int8 with a scale per row, fp16 or fp32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import AdapterShapeError, AdapterValueError
from edge_node.recognition.lora.branch import LoraBranch, stored_bytes
from hwmodel import Precision, Preset
from hwmodel.nn import Meter

#: Torch dtype of one stored number.
DTYPES = {Precision.INT8: torch.int8, Precision.FP16: torch.float16, Precision.FP32: torch.float32}
_INT8_MAX = 127
#: A row whose scale would be a subnormal float32 is zero: its codes could not be had back.
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False, slots=True)
class StoredMatrix:
    """Matrix as it is stored.

    A row depends on its own values only: what one row holds leaves no trace in another, so a person's row of an output
    layer can be dropped without touching anybody else's bits. `AdapterShapeError` if shapes or dtypes are not as said;
    `AdapterValueError` if a number is not finite, a scale is negative, or an int8 code is -128 (the range is
    symmetric).

    Attributes
    ----------
    storage
        Number format.
    codes
        ``[rows, columns]`` in the format's dtype.
    scales
        float32 ``[rows]`` for int8 (value = code times scale); None otherwise.
    """

    storage: Precision
    codes: Tensor
    scales: Tensor | None = None

    def __post_init__(self) -> None:
        dtype = DTYPES[self.storage]
        if self.codes.ndim != 2 or self.codes.dtype is not dtype:
            raise AdapterShapeError(
                f"stored as {self.storage.value}: expected a matrix of {dtype}, got "
                f"{list(self.codes.shape)} of {self.codes.dtype}"
            )
        if (self.scales is not None) != (self.storage is Precision.INT8):
            raise AdapterShapeError(f"{self.storage.value} storage: scales belong to int8, and only to it")
        if self.scales is None:
            _require_finite(self.codes)
            return
        if self.scales.shape != self.codes.shape[:1] or self.scales.dtype is not torch.float32:
            raise AdapterShapeError(
                f"expected float32 scales [{self.codes.shape[0]}], got {list(self.scales.shape)} of {self.scales.dtype}"
            )
        _require_finite(self.scales)
        if bool((self.scales < 0).any()):
            raise AdapterValueError("a row's scale is negative; expected 0 or more")
        if bool((self.codes < -_INT8_MAX).any()):
            raise AdapterValueError("an int8 code is -128; codes are symmetric, from -127 to 127")

    @classmethod
    def of(cls, values: Tensor, storage: Precision) -> StoredMatrix:
        """Store floats ``[rows, columns]``, rounding half to even; the same bits on every machine.

        int8: scale = largest magnitude of the row / 127 as float32, code = round(value / scale), both divisions in
        float64. Storing again what `values` returns changes nothing. `AdapterShapeError` if it is not a matrix of
        floats, or an empty one; `AdapterValueError` if a value is not finite, or does not fit into the format.
        """
        if values.ndim != 2 or values.numel() == 0 or not values.is_floating_point():
            raise AdapterShapeError(
                f"a factor is a matrix of floats, not empty; got {list(values.shape)} of {values.dtype}"
            )
        exact = values.detach().to("cpu", torch.float64)
        _require_finite(exact)
        if storage is not Precision.INT8:
            stored = _rounded(exact, DTYPES[storage])
            if not bool(torch.isfinite(stored).all()):
                raise AdapterValueError(
                    f"{float(exact.abs().max()):.3g} does not fit into {storage.value} "
                    f"(largest {torch.finfo(DTYPES[storage]).max:.3g})"
                )
            return cls(storage, stored)
        largest = exact.abs().amax(dim=1)
        scales = (largest / _INT8_MAX).to(torch.float32)
        if not bool(torch.isfinite(scales).all()):
            raise AdapterValueError(f"{float(largest.max()):.3g} does not fit into int8 with a float32 scale")
        scales = torch.where(scales < _SMALLEST_SCALE, torch.zeros_like(scales), scales)
        divisor = torch.where(scales > 0, scales, torch.ones_like(scales)).to(torch.float64)
        codes = torch.round(exact / divisor[:, None]).clamp_(-_INT8_MAX, _INT8_MAX)
        return cls(storage, torch.where(scales[:, None] > 0, codes, 0.0).to(torch.int8), scales)

    def values(self) -> Tensor:
        """Return the numbers, exactly, as float64 ``[rows, columns]``."""
        exact = self.codes.to(torch.float64)
        return exact if self.scales is None else exact * self.scales.to(torch.float64)[:, None]

    @property
    def byte_count(self) -> int:
        """Bytes that it takes, scales included."""
        return stored_bytes(self.storage, *self.codes.shape)

    def to_bytes(self) -> bytes:
        """Return codes, then scales, as little-endian bits: what digests are taken over."""
        parts = [self.codes] if self.scales is None else [self.codes, self.scales]
        arrays = [part.contiguous().numpy() for part in parts]
        return b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)


def stored_branch(a: Tensor, b: Tensor, storage: Precision, preset: Preset, meter: Meter) -> LoraBranch:
    """Return a branch whose factors, ``[N, r, in]`` and ``[N, out, r]``, have gone through a number format.

    `AdapterValueError` if a value is not finite, or does not fit into the format.
    """
    a, b = (torch.stack([StoredMatrix.of(f, storage).values() for f in part]).to(torch.float32) for part in (a, b))
    return LoraBranch(a, b, storage, preset, meter)


def _rounded(exact: Tensor, dtype: torch.dtype) -> Tensor:
    # By numpy, since torch goes from float64 to float16 by way of float32 and so rounds twice.
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(exact.numpy().astype({2: "<f2", 4: "<f4"}[dtype.itemsize]))


def _require_finite(values: Tensor) -> None:
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        raise AdapterValueError(
            f"{int((~finite).sum())} of {values.numel()} numbers are NaN or infinite; expected finite ones"
        )
