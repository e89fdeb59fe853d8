"""Linear algebra whose float64 results are the same in any batch, thread count, library and processor.

Two kinds of steps have but one result. Elementwise ones, each a kernel of its own, round once as IEEE 754 says: no
compiler fuses an addition with a multiplication across kernels. And products of integers whose sums stay below 2^53
have no rounding, however a library orders, splits or fuses them: a product of other numbers is made of such ones, of
slices of their digits (Ozaki et al., "Error-free transformations of matrix multiplication", Numerical Algorithms 59,
2012), which are added by element. A factorisation is written out by element.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.recognition.training.exact import LIMIT

#: Slices of each factor: with their 20 bits and more they hold a float64's 53.
_SLICES = 3
#: The iteration for a root has converged quadratically when its factor is this close to 1: then one step is left.
_NEARLY = 1e-8
#: It halves the distance of eigenvalues to 1 at first, in powers of two: more steps than any float64 matrix takes.
_MOST_STEPS = 64


def whole_product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b`` of integers, float64, exact; `EngineError` if sums might reach 2^53."""
    a, b = a.double(), b.double()
    # By Cauchy and Schwarz; the squares add up exactly, or to something far too large.
    lengths = [float(part.square().sum(dim=dim).amax()) if part.numel() else 0.0 for part, dim in ((a, -1), (b, -2))]
    if not lengths[0] * lengths[1] < LIMIT**2:
        raise EngineError(
            f"products of integer vectors of lengths {math.sqrt(lengths[0]):.3g} and {math.sqrt(lengths[1]):.3g} might "
            "reach 2^53: they would not be exact"
        )
    return a @ b


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b``, float64, right to a few units in the last place of its largest terms.

    A row of the result depends on that row of `a` alone, and a column on that column of `b`.
    """
    inner = a.shape[-1]
    # As many as there are of one order are added in one product.
    bits = (53 - (_SLICES * inner).bit_length()) // 2
    left, row_scale = _slices(a.double(), -1, bits)
    right, column_scale = _slices(b.double(), -2, bits)
    total = None
    for order in reversed(range(_SLICES)):
        part = torch.cat(left[: order + 1], dim=-1) @ torch.cat(right[order::-1], dim=-2)
        total = part if total is None else part.add_(total.mul_(2.0**-bits))
    assert total is not None
    return total.mul_(row_scale).mul_(column_scale)


def total(values: Tensor) -> Tensor:
    """Return sums along the last axis, float64, as right as those of `product`, and each by itself alone."""
    bits = 52 - values.shape[-1].bit_length()
    parts, scale = _slices(values.double(), -1, bits, 2)
    return parts[1].sum(dim=-1).mul_(2.0**-bits).add_(parts[0].sum(dim=-1)).mul_(scale[..., 0])


def root(squares: Tensor) -> Tensor:
    """Return square roots, float64, correctly rounded: of the processor, which `torch.sqrt` does not ask."""
    return torch.from_numpy(np.sqrt(squares.double().numpy()))


def eliminate(rows: Tensor, pivots: int) -> Tensor:
    """Return rows, float64 [..., R, C], of which the first `pivots` are taken from all below them, so that zeros stay.

    Of a symmetric positive definite matrix ``M = L D L'``, with whatever stands beside and below it: ``[M | X]``
    becomes ``[D L' | L^-1 X]``, and ``[[M, U], [U', V]]`` has ``V - U' M^-1 U`` in its corner. `EngineError` if a
    pivot is not above 0.
    """
    left = rows.clone()
    scratch = torch.empty(rows[..., 1:, 1:].numel(), dtype=rows.dtype)
    for k in range(pivots):
        below, right = left[..., k + 1 :, k : k + 1], left[..., k : k + 1, k + 1 :]
        taken = scratch[: below[..., 0].numel() * right.shape[-1]].view(*below.shape[:-1], right.shape[-1])
        left[..., k + 1 :, k + 1 :].sub_(torch.mul(below / left[..., k : k + 1, k : k + 1], right, out=taken))
        below.zero_()
    if not bool((left.diagonal(dim1=-2, dim2=-1)[..., :pivots] > 0).all()):
        raise EngineError("a matrix that should be positive definite is not: cannot solve with it")
    return left


def inverse(matrix: Tensor) -> Tensor:
    """Return the inverse of a symmetric positive definite matrix, float64 [P, P]."""
    size = len(matrix)
    solved = eliminate(torch.cat([matrix, torch.eye(size, dtype=torch.float64)], dim=1), size)
    lower = solved[:, size:]
    return product(lower.mT / solved[:, :size].diagonal(), lower)


def square_root(matrix: Tensor, smallest: float) -> Tensor:
    """Return the root of a symmetric positive definite matrix, float64 [P, P], with no eigenvalue below `smallest`.

    By the product form of the iteration of Denman and Beavers (Higham, "Functions of Matrices", 2008, chapter 6).
    """
    one = torch.eye(len(matrix), dtype=torch.float64)
    # A power of two, so that eigenvalues lie around 1; of four, so that its root is one too.
    scale = 4.0 ** round(math.log2(smallest * float(matrix.diagonal().amax())) / 4)
    factor = found = matrix / scale
    for _ in range(_MOST_STEPS):
        away = float((factor - one).abs().amax())
        turned = inverse(factor)
        found = product(found, (one + turned) / 2)
        if away < _NEARLY:
            return found * math.sqrt(scale)
        factor = (one + (factor + turned) / 2) / 2
    raise EngineError(f"the root of a matrix did not converge in {_MOST_STEPS} steps")


def _slices(values: Tensor, dim: int, bits: int, count: int = _SLICES) -> tuple[list[Tensor], Tensor]:
    """Return integers below ``2^bits``, most significant first, and the scale of the first ones along `dim`."""
    largest = values.abs().amax(dim=dim, keepdim=True) if values.shape[dim] else values.sum(dim=dim, keepdim=True)
    scale = torch.ldexp(torch.ones_like(largest), largest.frexp().exponent - bits)
    rest, parts = values / scale, []
    for _ in range(count):
        parts.append(rest.round())
        rest = (rest - parts[-1]).mul_(2.0**bits)
    return parts, scale
