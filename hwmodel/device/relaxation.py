"""Relaxation: published models of how the conductance of a programmed cell moves with age.

Ages are seconds since programming. A model says what is added to the cell, as a mean and the standard deviation of a
normal shift independent of the programming error; one draw per cell serves its whole life, so a chip at two ages is one
chip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from hwmodel.device.programming_error import PROGRAMMING_ERROR_FITS, polynomial
from hwmodel.errors import DeviceError

DAY_S = 86_400.0
YEAR_S = 365.25 * DAY_S

_WAN_1S = PROGRAMMING_ERROR_FITS["wan-aihwkit"]

#: aihwkit's fits of Wan et al. by age: coefficients of x^0, x^1 ... with x = G / 40 uS, uS.
_WAN = {
    1.0: _WAN_1S.coefficients,
    DAY_S: (0.701, 22.086, -50.773, 47.095, -16.458),
    2 * DAY_S: (0.782, 20.274, -43.507, 37.062, -11.934),
}


@dataclass(frozen=True, eq=False, slots=True)
class ConductanceShift:
    """Shift of conductances with age, float64: its mean, and the standard deviation from cell to cell, in uS."""

    mean_us: Tensor
    sigma_us: Tensor


class Relaxation(Protocol):
    """The shift of a cell's conductance between its programming and an age."""

    @property
    def min_age_s(self) -> float:
        """Youngest age that the model covers, s."""

    @property
    def max_age_s(self) -> float:
        """Oldest age that the model covers, s."""

    @property
    def low_us(self) -> float:
        """Smallest conductance that the model covers, uS."""

    @property
    def high_us(self) -> float:
        """Largest conductance that the model covers, uS."""

    @property
    def source(self) -> str:
        """Publication and place of the formula."""

    def shift(self, conductance_us: Tensor, age_s: float) -> ConductanceShift:
        """Return the shift at each target conductance (uS, float64); `DeviceError` at an unknown age."""


@dataclass(frozen=True, slots=True)
class NoRelaxation:
    """Cells stay as they were programmed, at any age: the code of arXiv 2601.10037 has no relaxation."""

    min_age_s: ClassVar[float] = 0.0
    max_age_s: ClassVar[float] = math.inf
    low_us: ClassVar[float] = 0.0
    high_us: ClassVar[float] = math.inf
    source: ClassVar[str] = "arXiv 2601.10037, code: noise is drawn once per deployment"

    def shift(self, conductance_us: Tensor, age_s: float) -> ConductanceShift:
        """Return no shift; `DeviceError` at a negative age."""
        _check_age(self, age_s)
        nothing = torch.zeros_like(conductance_us)
        return ConductanceShift(nothing, nothing)


@dataclass(frozen=True, slots=True)
class WanRelaxation:
    """``sqrt(sigma(t)^2 - sigma(1 s)^2)`` uS, no mean shift; 1 s to 2 days, 0 to 40 uS.

    How the errors of NeuRRAM cells widen: Wan et al., Nature 608, 504 (2022), as fitted by aihwkit. With
    the programming error ``wan-aihwkit`` the total standard deviation at 1 s, 1 day and 2 days is the published fit,
    and in between the fits are interpolated linearly in ln t. With another programming error the shift is the same, so
    the total is not the fit. In parts of the range the fit at two days lies below that at one day; as each cell keeps
    its draw, its shift then shrinks a little again.
    """

    min_age_s: ClassVar[float] = 1.0
    max_age_s: ClassVar[float] = 2 * DAY_S
    low_us: ClassVar[float] = _WAN_1S.low_us
    high_us: ClassVar[float] = _WAN_1S.high_us
    source: ClassVar[str] = "Wan et al., Nature 608, 504 (2022), 1 s, 1 day, 2 days; fits of aihwkit"

    def shift(self, conductance_us: Tensor, age_s: float) -> ConductanceShift:
        """Return the shift; `DeviceError` outside 1 s to 2 days or 0 to 40 uS."""
        at_1s = _WAN_1S.sigma_us(conductance_us)
        total = self.total_sigma_us(conductance_us, age_s)
        added = (total * total - at_1s * at_1s).clamp_(min=0).sqrt_()
        return ConductanceShift(torch.zeros_like(added), added)

    def total_sigma_us(self, conductance_us: Tensor, age_s: float) -> Tensor:
        """Return the published standard deviation at an age, programming error included, uS, float64."""
        _check_age(self, age_s)
        x = conductance_us / _WAN_1S.reference_us
        ages = list(_WAN)
        later = next(age for age in ages[1:] if age_s <= age)
        earlier = ages[ages.index(later) - 1]
        part = (math.log(age_s) - math.log(earlier)) / (math.log(later) - math.log(earlier))
        return polynomial(_WAN[earlier], x) * (1 - part) + polynomial(_WAN[later], x) * part


@dataclass(frozen=True, slots=True)
class CmoRelaxation:
    """Mean ``-0.089 ln t``, standard deviation ``0.412 + 0.042 ln t`` uS, t in s; 1 s to 10 years.

    CMO/HfOx cells, independent of their conductance: Falcone et al., arXiv 2502.04524, as fitted by aihwkit. It counts
    from the moment that write-verify accepts the cell, so it is not zero at 1 s. The publication itself carries the fit
    on to 10 years; that end is extrapolated.
    """

    min_age_s: ClassVar[float] = 1.0
    max_age_s: ClassVar[float] = 10 * YEAR_S
    low_us: ClassVar[float] = 0.0
    high_us: ClassVar[float] = math.inf
    source: ClassVar[str] = "Falcone et al., arXiv 2502.04524; fit of aihwkit"

    def shift(self, conductance_us: Tensor, age_s: float) -> ConductanceShift:
        """Return the shift; `DeviceError` outside 1 s to 10 years."""
        _check_age(self, age_s)
        log_age = math.log(age_s)
        return ConductanceShift(
            torch.full_like(conductance_us, -0.08900206 * log_age),
            torch.full_like(conductance_us, 0.41183342 + 0.04201137 * log_age),
        )


_BY_NAME: dict[str, Relaxation] = {"none": NoRelaxation(), "wan": WanRelaxation(), "cmo": CmoRelaxation()}


def age_step_s(model: Relaxation, age_s: float) -> float:
    """Return the age at which cells of an age are computed: the youngest of the model, doubled as often as fits.

    So a chip that is in use has new cells eighteen times in its first two days, and once more each time its age has
    doubled. Beyond the oldest age that the model covers they stay as they were there.
    """
    if isinstance(model, NoRelaxation):
        return 1.0
    covered = min(max(age_s, model.min_age_s), model.max_age_s)
    return math.ldexp(model.min_age_s, math.floor(math.log2(covered / model.min_age_s)))


def relaxation_names() -> tuple[str, ...]:
    """Return the names that a preset's ``models.relaxation`` may have."""
    return tuple(_BY_NAME)


def relaxation_named(name: str) -> Relaxation:
    """Return the model of that name.

    Raises `DeviceError` if there is no such model.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise DeviceError(f"no relaxation {name!r}; there are: {', '.join(_BY_NAME)}") from None


def _check_age(model: Relaxation, age_s: float) -> None:
    # Written so that NaN is refused too; an infinite age is no age.
    if not (model.min_age_s <= age_s <= model.max_age_s and math.isfinite(age_s)):
        raise DeviceError(
            f"{type(model).__name__} covers ages of {model.min_age_s:g} to {model.max_age_s:g} s; got {age_s:g} s"
        )
