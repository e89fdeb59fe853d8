"""Exact arithmetic of training: the same integers in any batch, order, thread count, library and processor.

Values lie on fixed-point grids: multiples of ``2^-bits``, held in float64. A product of two such values, and
a sum of products below ``2^53`` steps of their grid, has no rounding, however a kernel orders, splits or
fuses it. All rounding is by element and written out (`on_grid`): nothing that is not on a grid is ever added.
Sigmoid and softplus are tables made with `decimal`; the root is corrected by exact comparisons, since
`torch.sqrt` rounds some float64 roots wrongly. Formats and bounds: docs/adr/0013.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import cache

import torch
from torch import Tensor

from edge_node.errors import RoundError

#: Fraction bits of loss weights, of the error of a logit, and of sigmoid and softplus.
WEIGHT_BITS, ERROR_BITS, TABLE_BITS = 20, 16, 16
#: Sums of fewer grid steps are exact in float64, and in float32.
_LIMIT, _LIGHT_LIMIT = 2.0**53, 2.0**24
#: Logits beyond this are as good as this in the tables, which have `_LOGIT_BITS` fraction bits.
_LOGIT_LIMIT, _LOGIT_BITS = 16, 6
#: Adam's decay rates are ``1 - 2^-k``; its step sizes are integers at ``2^-_STEP_BITS``.
_FIRST_DECAY, _SECOND_DECAY, _STEP_BITS = 3, 7, 10
#: Largest gradient in grid steps: its square, summed up by Adam, stays below 2^52.
_GRADIENT_LIMIT = 2.0**22


def on_grid(values: Tensor, bits: int, largest: float = math.inf) -> Tensor:
    """Return values rounded to multiples of ``2^-bits``, half to even, and limited to +-`largest`; float64.

    A limit must be a multiple itself.
    """
    codes = (values.double() * 2.0**bits).round_().mul_(2.0**-bits)
    return codes if largest == math.inf else codes.clamp_(-largest, largest)


def to_grid_(values: Tensor, bits: int, largest: float = math.inf) -> Tensor:
    """Do as `on_grid` in place, in the carrier that values have: scaling by a power of two and rounding are exact."""
    values.mul_(2.0**bits).round_().mul_(2.0**-bits)
    return values if largest == math.inf else values.clamp_(-largest, largest)


def check_grid(**grids: tuple[Tensor, int]) -> None:
    """Refuse values, given as (values, bits), that are not float64 multiples of ``2^-bits``, with a `RoundError`."""
    for name, (values, bits) in grids.items():
        if values.dtype != torch.float64 or not torch.equal(on_grid(values, bits), values):
            raise RoundError(f"{name} are not float64 multiples of 2^-{bits}: sums of them would not be exact")


def check_sums(**sums: tuple[float, int]) -> None:
    """Refuse a round whose sums might not be exact: given as (largest ``sum |a| |b|``, fraction bits).

    No comparison of results would show it, since the rounding that follows hides nearly every breach. A `RoundError`
    names the sums that might reach too far.
    """
    wide = [
        f"{name} may reach {reach:.3g} at 2^-{bits}"
        for name, (reach, bits) in sums.items()
        if not reach * 2.0**bits < _LIMIT
    ]
    if wide:
        raise RoundError(f"sums must stay below 2^53 steps to be exact; {', '.join(wide)}")


def matmul(a: Tensor, b: Tensor, steps: float) -> Tensor:
    """Return ``a @ b``, exact, in the lighter carrier that holds its sums; `RoundError` if none does.

    `steps` is the largest possible ``sum |a| |b|`` in steps of the product's grid.
    """
    if steps < _LIGHT_LIMIT:
        return a.float() @ b.float()
    check_sums(product=(steps, 0))
    return a.double() @ b.double()


def largest(values: Tensor) -> float:
    """Return the largest magnitude: 0 of nothing."""
    return float(values.abs().amax()) if values.numel() else 0.0


def largest_sum(values: Tensor, dim: int) -> float:
    """Return the largest sum of magnitudes along an axis, rounded up: 0 of nothing."""
    if not values.numel():
        return 0.0
    # A float32 sum of n magnitudes errs by less than n 2^-24 of itself.
    slack = 1 + values.shape[dim] * 2.0**-23
    return float(values.abs().sum(dim=dim).amax()) * slack


def sigmoid(logits: Tensor) -> Tensor:
    """Return the sigmoid of logits on any grid, on that of `TABLE_BITS`, in their carrier."""
    index = _steps(logits).clamp_(-_END, _END).add_(_END)
    return _table(_sigmoid, logits.dtype)[index.int()]


def softplus(logits: Tensor) -> Tensor:
    """Return ``log(1 + exp(x))`` of logits on any grid, on that of `TABLE_BITS`."""
    steps = _steps(logits)
    index = (-steps.abs()).clamp_(min=-_END).add_(_END)
    return _table(_softplus, logits.dtype)[index.int()] + steps.clamp(min=0) * 2.0**-_LOGIT_BITS


def class_weights(target: Tensor, real: Tensor, own_share: float) -> Tensor:
    """Share out a row's loss on the grid of `WEIGHT_BITS`: `own_share` among the person's samples, the rest to others.

    `target`, ``[..., S, K]``, is 1 where sample and row are of the same person, and `real`, ``[..., S, 1]``, where
    there is no padding.
    """
    target = target.double()
    other = real.double() - target
    own = own_share * target / target.sum(dim=-2, keepdim=True).clamp(min=1)
    return on_grid(own + (1 - own_share) * other / other.sum(dim=-2, keepdim=True).clamp(min=1), WEIGHT_BITS)


class Adam:
    """Adam in integers for the length of one round: its state lives and dies inside the keyed unit of work.

    It holds 8 times the first moment and 128 times the second, so that nothing of them is lost to rounding.
    Only the final quotient is not exact, and is rounded to a step of the state at once.

    Parameters
    ----------
    start
        What is trained, on the grid of `state_bits`.
    learning_rate
        Of the first step; it falls to zero, linearly.
    gradient_bits
        Fraction bits of gradients, which are limited to ``2^(22 - gradient_bits)``.
    state_bits, largest
        Grid of what is trained, and where it saturates.
    """

    def __init__(
        self,
        start: Tensor,
        learning_rate: float,
        steps: int,
        *,
        gradient_bits: int,
        state_bits: int,
        largest: float = math.inf,
    ) -> None:
        self._first, self._second, self._scratch = (torch.zeros(start.shape, dtype=torch.float64) for _ in range(3))
        self._sizes = iter(_step_sizes(learning_rate, steps, state_bits))
        self._scale, self._unit, self._largest = 2.0**gradient_bits, 2.0**-state_bits, largest

    def update_(self, values: Tensor, gradient: Tensor, moving: Tensor | None = None) -> Tensor:
        """Make one step in place, of what is `moving` if that is given; the gradient, float64, is used up.

        It is on a grid, or gets onto its own here.
        """
        g, spare = gradient.mul_(self._scale).round_().clamp_(-_GRADIENT_LIMIT, _GRADIENT_LIMIT), self._scratch
        self._first.sub_(torch.mul(self._first, 2.0**-_FIRST_DECAY, out=spare).round_()).add_(g)
        self._second.sub_(torch.mul(self._second, 2.0**-_SECOND_DECAY, out=spare).round_()).addcmul_(g, g)
        root = _whole_root(self._second, spare, g)
        # Powers of two and integers below 2^53: the quotient alone is rounded, in whatever order they are multiplied.
        step = torch.mul(self._first, next(self._sizes) * 2.0**-_STEP_BITS, out=g).div_(root.add_(1)).round_()
        values.sub_(step if moving is None else step.mul_(moving), alpha=self._unit)
        return values if self._largest == math.inf else values.clamp_(-self._largest, self._largest)


def _whole_root(squares: Tensor, out: Tensor, spare: Tensor) -> Tensor:
    """Return the integer part of the root of integers below 2^52: `torch.sqrt` is right to less than a half."""
    root = torch.sqrt(squares, out=out).round_()
    return root.sub_(torch.mul(root, root, out=spare).gt_(squares))


@cache
def _step_sizes(learning_rate: float, steps: int, state_bits: int) -> tuple[float, ...]:
    """Return Adam's step sizes with both bias corrections, for moments that are held 8 and 128 times."""
    sizes = []
    with localcontext() as context:
        context.prec = 50
        for t in range(1, steps + 1):
            first = 1 - (1 - Decimal(2) ** -_FIRST_DECAY) ** t
            second = 1 - (1 - Decimal(2) ** -_SECOND_DECAY) ** t
            rate = Decimal(learning_rate) * (steps + 1 - t) / steps
            size = rate * 2 ** (state_bits - _FIRST_DECAY) / first * (second * 2**_SECOND_DECAY).sqrt()
            sizes.append(float(round(size * 2**_STEP_BITS)))
    check_sums(**{"steps of Adam": (_GRADIENT_LIMIT * 2**_FIRST_DECAY * max(sizes), 0)})
    return tuple(sizes)


#: Index of logit 0 in a table.
_END = _LOGIT_LIMIT << _LOGIT_BITS


def _steps(logits: Tensor) -> Tensor:
    return (logits * 2.0**_LOGIT_BITS).round_()


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _softplus(x: Decimal) -> Decimal:
    return (1 + x.exp()).ln()


@cache
def _table(function: Callable[[Decimal], Decimal], carrier: torch.dtype) -> Tensor:
    """Return a function's values at the table's logits, rounded to the grid of `TABLE_BITS`: below 2^24 steps."""
    with localcontext() as context:
        context.prec = 50
        logits = (Decimal(k) / 2**_LOGIT_BITS for k in range(-_END, _END + 1))
        codes = [round(2**TABLE_BITS * function(x)) for x in logits]
    return torch.tensor(codes, dtype=carrier) * 2.0**-TABLE_BITS
