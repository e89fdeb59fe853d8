"""Linear algebra whose float64 results are the same in any batch, thread count, library and processor.

Two kinds of steps have but one result. Elementwise ones, each a kernel of its own, round once as IEEE 754 says: no
compiler fuses an addition with a multiplication across kernels. And products of integers whose sums stay below 2^53
have no rounding, however a library orders, splits or fuses them: a product of other numbers is made of such ones, of
slices of their digits (Ozaki et al., "Error-free transformations of matrix multiplication", Numerical Algorithms 59,
2012), which are added by element. A factorisation is written out in both.
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
#: Pivots that are eliminated one by one.
_BY_ELEMENT = 40
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
    # Slices of one order are added in one product: the first of `a` with the last of `b`, and so on.
    bits = (53 - (_SLICES * inner).bit_length()) // 2
    left, row_scale = _slices(a.double(), -1, bits)
    right, column_scale = _slices(b.double(), -2, bits, backwards=True)
    found = left @ right
    for order in reversed(range(1, _SLICES)):
        width = order * inner
        found = (left[..., :width] @ right[..., right.shape[-2] - width :, :]).add_(found.mul_(2.0**-bits))
    return found.mul_(row_scale).mul_(column_scale)


def total(values: Tensor) -> Tensor:
    """Return sums along the last axis, float64, as right as those of `product`, and each by itself alone."""
    bits = 52 - values.shape[-1].bit_length()
    parts, scale = _slices(values.double(), -1, bits, count=2)
    high, low = parts.view(*values.shape[:-1], 2, values.shape[-1]).sum(dim=-1).unbind(dim=-1)
    return low.mul(2.0**-bits).add_(high).mul_(scale[..., 0])


def root(squares: Tensor) -> Tensor:
    """Return square roots, float64, correctly rounded: of the processor, which `torch.sqrt` does not ask."""
    return torch.from_numpy(np.sqrt(squares.double().numpy()))


def eliminate(rows: Tensor, pivots: int) -> Tensor:
    """Return rows, float64 [..., R, C], symmetric in the first R columns, with the first `pivots` taken from all below.

    Of a symmetric positive definite matrix ``M = L D L'``, with whatever stands beside and below it: ``[M | X]``
    becomes ``[D L' | L^-1 X]``, and ``[[M, U], [U', V]]`` has ``V - U' M^-1 U`` in its corner. What is left of a pivot
    is not 0. `EngineError` if a pivot is not above 0.
    """
    found = _eliminated(rows.clone(), pivots)
    if not bool((found.diagonal(dim1=-2, dim2=-1)[..., :pivots] > 0).all()):
        raise EngineError("a matrix that should be positive definite is not: cannot solve with it")
    return found


def _eliminated(left: Tensor, pivots: int) -> Tensor:
    """Return what `eliminate` does, in place: first half of the pivots, their product from the rest, the other half."""
    if pivots > _BY_ELEMENT:
        half = pivots // 2
        top = _eliminated(left[..., :half, :], half)
        factors = (top[..., half : left.shape[-2]] / top.diagonal(dim1=-2, dim2=-1)[..., None]).mT
        _eliminated(left[..., half:, half:].sub_(product(factors, top[..., half:])), pivots - half)
        return left
    for k in range(pivots):
        factors = left[..., k, k + 1 : left.shape[-2], None] / left[..., k, k, None, None]
        left[..., k + 1 :, k + 1 :].sub_(factors * left[..., k : k + 1, k + 1 :])
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


def _slices(
    values: Tensor, dim: int, bits: int, *, count: int = _SLICES, backwards: bool = False
) -> tuple[Tensor, Tensor]:
    """Return integers up to ``2^bits``, most significant first, side by side along `dim`, and the first's scale."""
    size = values.shape[dim]
    largest = values.abs().amax(dim=dim, keepdim=True) if size else values.sum(dim=dim, keepdim=True)
    scale = torch.ldexp(torch.ones_like(largest), largest.frexp().exponent - bits)
    rest, shape = values / scale, list(values.shape)
    shape[dim] = count * size
    parts = torch.empty(shape, dtype=torch.float64)
    for number in range(count):
        part = parts.narrow(dim, (count - 1 - number if backwards else number) * size, size)
        torch.round(rest, out=part)
        rest.sub_(part).mul_(2.0**bits)
    return parts, scale
