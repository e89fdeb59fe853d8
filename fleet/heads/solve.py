"""Solving a ridge head to the same bits everywhere.

LAPACK gives other low bits with every kernel, thread count and processor, so a digest of its answer means nothing. What
is well defined is the exact rational solution, rounded once: here it is found by iterative refinement with exact
integer residuals, and returned only with a proof that no entry can lie on the other side of its rounding boundary.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fleet.heads.errors import HeadError, NotCertifiedError, StatisticsError
from fleet.heads.statistics import Int64

#: Bits of one step's correction: integers of this size are exact in float64, with room for their sum.
_STEP_BITS = 46
_MAX_STEPS = 8
_INT32_MAX = 2**31 - 1
#: Relative error of a float64 dot product of d terms is below d 2^-52, whatever the order of summation.
_UNIT = 2.0**-52


def solve_rounded(gram: Int64, targets: Int64, ridge: int, scale_bits: int) -> npt.NDArray[np.int32]:
    """Return ``round(2^scale_bits (gram + ridge I)^-1 targets)``, exactly rounded, half-way cases refused.

    After k steps the solution is an integer vector V over ``2^p``, with the exact integer residual
    ``R = 2^p targets - A V``. Since ``gram`` is a sum of outer products, ``||A^-1|| <= 1 / ridge``, so each
    entry of V is within ``||R|| / ridge`` of the truth: enough to decide its rounding, or to go on.

    Parameters
    ----------
    gram
        int64 ``[d, d]``, positive semi-definite by construction, entries below 2^53.
    targets
        int64 ``[d, K]``.
    ridge
        Positive integer, in units of `gram`.
    scale_bits
        Fraction bits of the result.

    Returns
    -------
    ndarray
        int32 ``[d, K]``: the same in every environment.

    Raises
    ------
    StatisticsError
        If shapes or sizes do not fit, or the ridge is not a positive integer.
    NotCertifiedError
        If an entry is too close to a boundary to be decided: nothing is returned.
    HeadError
        If the solution does not fit into int32 at this scale.
    """
    matrix = _checked_matrix(gram, targets, ridge)
    if targets.shape[1] == 0:
        return np.zeros(targets.shape, np.int32)
    # Imported here: a coordinator starts without it, and may never solve anything.
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    real = matrix.astype(np.float64)
    try:
        factor = cho_factor(real, lower=True, check_finite=False)
    except LinAlgError as error:
        raise StatisticsError(
            "the statistics are not positive definite: they are not a sum of outer products"
        ) from error
    # What an entry of |A| |v| can add up to: bounds the error of the float64 residual.
    row_sums = float(np.abs(real).sum(axis=1).max())

    residual = targets.copy()
    solution = np.zeros(targets.shape, dtype=object)
    fraction_bits = 0
    for _ in range(_MAX_STEPS):
        step = cho_solve(factor, residual.astype(np.float64), check_finite=False)
        shift = _shift(step, residual)
        correction = np.rint(np.ldexp(step, shift)).astype(np.int64)
        solution = solution * (1 << shift) + correction.astype(object)
        fraction_bits += shift
        residual = _exact_residual(matrix, real, row_sums, residual, shift, correction)
        bound = _norm_bound(residual) / ridge
        rounded = _rounded(solution, fraction_bits, scale_bits, bound)
        if rounded is not None:
            return rounded
        if not residual.any():
            break
    raise NotCertifiedError(
        f"an entry of the solution lies within {bound:.3g} / 2^{fraction_bits} of a rounding boundary at "
        f"2^-{scale_bits}: choose another ridge or scale"
    )


def _checked_matrix(gram: Int64, targets: Int64, ridge: int) -> Int64:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or targets.ndim != 2 or len(targets) != len(gram):
        raise StatisticsError(
            f"need a square matrix and targets of as many rows; got {list(gram.shape)}, {list(targets.shape)}"
        )
    if gram.dtype != np.int64 or targets.dtype != np.int64:
        raise StatisticsError(f"statistics are int64; got {gram.dtype} and {targets.dtype}")
    if isinstance(ridge, bool) or not isinstance(ridge, int) or ridge < 1:
        raise StatisticsError(f"the ridge is a positive integer; got {ridge!r}")
    largest = max(int(np.abs(gram).max(initial=0)) + ridge, int(np.abs(targets).max(initial=0)))
    if largest >= 1 << 53:
        raise StatisticsError(f"statistics reach {largest}, beyond 2^53: they are not exact in float64")
    if not np.array_equal(gram, gram.T):
        raise StatisticsError("the statistics are not symmetric")
    matrix = gram.copy()
    matrix[np.diag_indices_from(matrix)] += ridge
    return matrix


def _shift(step: npt.NDArray[np.float64], residual: Int64) -> int:
    """Return how many fraction bits this step adds: as many as correction and residual have room for."""
    largest = float(np.abs(step).max())
    room = _STEP_BITS - (math.frexp(largest)[1] if largest else -_STEP_BITS)
    # The scaled residual itself is only held modulo 2^64, so it sets no limit; a step is at most this long.
    return max(1, min(room, 2 * _STEP_BITS))


def _exact_residual(
    matrix: Int64, real: npt.NDArray[np.float64], row_sums: float, residual: Int64, shift: int, correction: Int64
) -> Int64:
    """Return ``2^shift residual - matrix correction`` exactly.

    Integer arithmetic that wraps gives the value modulo 2^64; float64 tells which of the numbers that are
    equal modulo 2^64 it is, with a proved error far below 2^63.
    """
    wrapped = _shifted(residual, shift) - matrix @ correction
    estimate = np.ldexp(residual.astype(np.float64), shift) - real @ correction.astype(np.float64)
    largest = float(np.abs(correction).max(initial=0))
    magnitude = row_sums * largest + math.ldexp(float(np.abs(residual).max(initial=0)), shift)
    uncertainty = (len(matrix) + 4) * _UNIT * magnitude
    if float(np.abs(estimate).max(initial=0)) + 2 * uncertainty >= 2.0**62:
        raise NotCertifiedError(
            "the residual of a refinement step is too large to be held exactly: the statistics are too badly "
            "conditioned for this ridge"
        )
    return wrapped


def _shifted(values: Int64, shift: int) -> Int64:
    """Return ``values 2^shift`` modulo 2^64."""
    if shift >= 64:
        return np.zeros_like(values)
    return np.left_shift(values.view(np.uint64), np.uint64(shift)).view(np.int64)


def _norm_bound(residual: Int64) -> float:
    """Return an upper bound of the largest column's Euclidean norm."""
    squares = np.square(residual.astype(np.float64)).sum(axis=0)
    return math.sqrt(float(squares.max())) * (1 + 1e-9)


def _rounded(
    solution: npt.NDArray[np.object_], fraction_bits: int, scale_bits: int, bound: float
) -> npt.NDArray[np.int32] | None:
    """Return the solution at 2^-scale_bits if every entry's rounding is decided, else None."""
    drop = fraction_bits - scale_bits
    if drop < 1:
        return None
    unit, half = 1 << drop, 1 << (drop - 1)
    margin = math.ceil(bound)
    if margin >= half:
        return None
    nearest = (solution + half) // unit
    distance = np.abs(solution - nearest * unit)
    if (distance + margin >= half).any():
        return None
    largest = int(np.abs(nearest).max())
    if largest > _INT32_MAX:
        raise HeadError(f"an entry of the head is {largest} at 2^-{scale_bits}, beyond int32: use fewer bits")
    codes: npt.NDArray[np.int32] = nearest.astype(np.int32)
    return codes
