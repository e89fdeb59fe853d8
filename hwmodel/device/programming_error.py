"""What write-verify leaves between the target and the conductance of a cell: published models of it.

Each model is the standard deviation (uS) of a normal error without bias, over a conductance range (uS) outside which
nothing was measured and it raises. Two fits of one figure, Wan's, are both offered: they differ by 0.15 to 0.35 uS at 8
to 36 uS and by 0.5 to 0.7 uS at the ends, so nothing finer is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from hwmodel.errors import DeviceError
from hwmodel.presets.preset import Preset

#: Levels are multiples of a binary fraction, published ends of ranges are not.
_SLACK_US = 1e-9


class ProgrammingError(Protocol):
    """The error of a write-verified cell, one second after programming unless a model says otherwise."""

    @property
    def low_us(self) -> float:
        """Smallest conductance that the model covers, uS."""
        ...

    @property
    def high_us(self) -> float:
        """Largest conductance that the model covers, uS."""
        ...

    @property
    def source(self) -> str:
        """Publication and place of the formula."""
        ...

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the standard deviation (uS, float64) at each target conductance (uS, float64)."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantProgrammingError:
    """The same normal error at every conductance: what the code of arXiv 2601.10037 does.

    Raises `DeviceError` if sigma is negative or not finite.

    Attributes
    ----------
    sigma
        Standard deviation in uS; 1 in the paper's restore run, swept from 1 to 10.
    """

    low_us: ClassVar[float] = 0.0
    high_us: ClassVar[float] = math.inf
    source: ClassVar[str] = "arXiv 2601.10037, code: additive, state-independent"

    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise DeviceError(f"sigma of the programming error must be finite and not negative; got {self.sigma} uS")

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return `sigma` for every cell; conductances must not be negative."""
        _check_covered(self, conductance_us)
        return torch.full_like(conductance_us, self.sigma)


@dataclass(frozen=True, slots=True)
class WanProgrammingError:
    """``0.348 + 16.030 x - 43.853 x^2 + 45.393 x^3 - 16.815 x^4`` uS, ``x = G / 40 uS``; 0 to 40 uS.

    NeuRRAM cells one second after programming: Wan et al., Nature 608, 504 (2022), as fitted by aihwkit
    (`inference/noise/reram.py`). `WanRelaxation` holds the fits of the same source at one and two days.
    """

    low_us: ClassVar[float] = 0.0
    high_us: ClassVar[float] = 40.0
    source: ClassVar[str] = "Wan et al., Nature 608, 504 (2022), 1 s; fit of aihwkit"

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the fit; `DeviceError` outside 0 to 40 uS."""
        _check_covered(self, conductance_us)
        return polynomial(WAN_1S, conductance_us / WAN_REFERENCE_US)


@dataclass(frozen=True, slots=True)
class WanCrossSimProgrammingError:
    """``1.053 + 0.2374 G - 1.167e-2 G^2 + 1.536e-4 G^3`` uS, G in uS; 0 to 39.26 uS.

    The rival fit of the same cells at one second: Wan et al., Nature 608, 504 (2022), as fitted by CrossSim
    (`devices/custom/RRAM_Wan.py`).
    """

    low_us: ClassVar[float] = 0.0
    high_us: ClassVar[float] = 39.26
    source: ClassVar[str] = "Wan et al., Nature 608, 504 (2022), 1 s; fit of CrossSim"

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the fit; `DeviceError` outside 0 to 39.26 uS."""
        _check_covered(self, conductance_us)
        return polynomial((1.053, 0.2374, -1.167e-2, 1.536e-4), conductance_us)


@dataclass(frozen=True, slots=True)
class MiloProgrammingError:
    """``4.782 - 0.009107 G`` uS, G in uS; 50 to 225 uS.

    HfO2 cells written by the IGVVA-100 algorithm: Milo et al., IRPS 2021, as fitted by CrossSim
    (`devices/custom/RRAM_Milo.py`).
    """

    low_us: ClassVar[float] = 50.0
    high_us: ClassVar[float] = 225.0
    source: ClassVar[str] = "Milo et al., IRPS 2021, IGVVA-100; fit of CrossSim"

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the fit; `DeviceError` outside 50 to 225 uS."""
        _check_covered(self, conductance_us)
        return polynomial((4.782, -0.009107), conductance_us)


#: CMO/HfOx: acceptance range in percent of the target to (uS, uS per uS of conductance).
_CMO = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}


@dataclass(frozen=True, slots=True)
class CmoProgrammingError:
    """``0.00081 + 0.00107 G`` uS (acceptance 0.2 %) or ``0.0112 + 0.0113 G`` uS (2 %); 9 to 88.2 uS.

    CMO/HfOx cells: Falcone et al., arXiv 2502.04524, as fitted by aihwkit (`inference/noise/reram.py`). This is the
    error at the moment that write-verify accepts the cell; what the first second adds is in `CmoRelaxation`, which
    belongs with it. Raises `DeviceError` for any other acceptance range.

    Attributes
    ----------
    acceptance_percent
        Acceptance range of write-verify in percent of the target: 0.2 or 2, the two that were measured.
    """

    low_us: ClassVar[float] = 9.0
    high_us: ClassVar[float] = 88.2
    source: ClassVar[str] = "Falcone et al., arXiv 2502.04524; fit of aihwkit"

    acceptance_percent: float

    def __post_init__(self) -> None:
        if self.acceptance_percent not in _CMO:
            known = " or ".join(f"{percent:g}" for percent in _CMO)
            raise DeviceError(
                f"CMO/HfOx cells were measured at acceptance ranges of {known} %; got {self.acceptance_percent} %"
            )

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the fit of this acceptance range; `DeviceError` outside 9 to 88.2 uS."""
        _check_covered(self, conductance_us)
        return polynomial(_CMO[self.acceptance_percent], conductance_us)


#: Conductance that x = 1 stands for in aihwkit's fits of Wan et al.
WAN_REFERENCE_US = 40.0

#: aihwkit's fit of Wan et al. one second after programming: coefficients of x^0, x^1 ..., uS.
WAN_1S = (0.348, 16.030, -43.853, 45.393, -16.815)

_BY_NAME: dict[str, Callable[[Preset], ProgrammingError]] = {
    "constant": lambda preset: ConstantProgrammingError(preset.cell.programming_sigma_us),
    "wan-aihwkit": lambda preset: WanProgrammingError(),
    "wan-crosssim": lambda preset: WanCrossSimProgrammingError(),
    "milo": lambda preset: MiloProgrammingError(),
    "cmo-0.2%": lambda preset: CmoProgrammingError(0.2),
    "cmo-2%": lambda preset: CmoProgrammingError(2.0),
}


def programming_error_names() -> tuple[str, ...]:
    """Return the names that a preset's ``models.programming_error`` may have."""
    return tuple(_BY_NAME)


def programming_error_named(name: str, preset: Preset) -> ProgrammingError:
    """Return the model of that name; the constant one with the preset's ``cell.programming_sigma_us``.

    Raises `DeviceError` if there is no such model.
    """
    try:
        make = _BY_NAME[name]
    except KeyError:
        raise DeviceError(f"no programming error {name!r}; there are: {', '.join(_BY_NAME)}") from None
    return make(preset)


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return ``c0 + c1 x + c2 x^2 ...``, float64, by Horner's rule.

    One rounded operation at a time, so the same on every machine: a power or a fused product would not be.
    """
    value = torch.full_like(x, coefficients[-1], dtype=torch.float64)
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def _check_covered(model: ProgrammingError, conductance_us: Tensor) -> None:
    if conductance_us.numel() == 0:
        return
    lowest, highest = (float(end) for end in torch.aminmax(conductance_us))
    # Written so that NaN, which aminmax passes on, is refused too.
    if not (lowest >= model.low_us - _SLACK_US and highest <= model.high_us + _SLACK_US):
        worst = highest if lowest >= model.low_us - _SLACK_US else lowest
        raise DeviceError(
            f"{type(model).__name__} covers {model.low_us:g} to {model.high_us:g} uS; got {worst:g} uS. "
            f"Nothing is known there ({model.source}): choose another model or conductance window"
        )
