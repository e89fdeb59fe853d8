"""Programming error: what write-verify leaves between the target and the conductance of a cell, as published.

Each model is the standard deviation (uS) of a normal error without bias, over a conductance range (uS) outside which
nothing was measured and it raises. Two fits of one figure, Wan's, are both offered: they differ by 0.15 to 0.35 uS at 8
to 36 uS and by 0.5 to 0.7 uS at the ends, so nothing finer is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
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

    @property
    def high_us(self) -> float:
        """Largest conductance that the model covers, uS."""

    @property
    def source(self) -> str:
        """Publication and place of the formula."""

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the standard deviation (uS, float64) at each target conductance (uS, float64)."""


@dataclass(frozen=True, slots=True)
class ConstantProgrammingError:
    """The same normal error at every conductance: what the code of arXiv 2601.10037 does.

    `sigma` is the standard deviation in uS: 1 in the paper's restore run, swept from 1 to 10. Raises `DeviceError` if
    it is negative or not finite.
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
        _check_covered(type(self).__name__, self, conductance_us)
        return torch.full_like(conductance_us, self.sigma)


@dataclass(frozen=True, slots=True)
class FittedProgrammingError:
    """A published fit, ``c0 + c1 x + c2 x^2 ...`` uS with ``x = G / reference_us``; see `PROGRAMMING_ERROR_FITS`."""

    name: str
    low_us: float
    high_us: float
    source: str
    coefficients: tuple[float, ...]
    reference_us: float = 1.0

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the fit; `DeviceError` outside its range."""
        _check_covered(self.name, self, conductance_us)
        return polynomial(self.coefficients, conductance_us / self.reference_us)


_WAN = "Wan et al., Nature 608, 504 (2022), 1 s"
_FALCONE = "Falcone et al., arXiv 2502.04524; fit of aihwkit"

#: The published fits by the name that a preset's ``models.programming_error`` has. Wan's are of NeuRRAM cells at one
#: second, by aihwkit (`inference/noise/reram.py`; `WanRelaxation` has the fits of the same source at one and two days)
#: and by CrossSim (`devices/custom/RRAM_Wan.py`). Milo's are HfO2 cells written by the IGVVA-100 algorithm
#: (`devices/custom/RRAM_Milo.py`). CMO/HfOx cells are those that write-verify accepted within 0.2 or 2 % of the target,
#: at that moment: what the first second adds is in `CmoRelaxation`, which belongs with it.
PROGRAMMING_ERROR_FITS = MappingProxyType(
    {
        "wan-aihwkit": FittedProgrammingError(
            "wan-aihwkit", 0.0, 40.0, f"{_WAN}; fit of aihwkit", (0.348, 16.030, -43.853, 45.393, -16.815), 40.0
        ),
        "wan-crosssim": FittedProgrammingError(
            "wan-crosssim", 0.0, 39.26, f"{_WAN}; fit of CrossSim", (1.053, 0.2374, -1.167e-2, 1.536e-4)
        ),
        "milo": FittedProgrammingError(
            "milo", 50.0, 225.0, "Milo et al., IRPS 2021, IGVVA-100; fit of CrossSim", (4.782, -0.009107)
        ),
        "cmo-0.2%": FittedProgrammingError("cmo-0.2%", 9.0, 88.2, _FALCONE, (0.00081107, 0.00106879)),
        "cmo-2%": FittedProgrammingError("cmo-2%", 9.0, 88.2, _FALCONE, (0.0112185391, 0.01129027418)),
    }
)

_CONSTANT = "constant"


def programming_error_names() -> tuple[str, ...]:
    """Return the names that a preset's ``models.programming_error`` may have."""
    return (_CONSTANT, *PROGRAMMING_ERROR_FITS)


def programming_error_named(name: str, preset: Preset) -> ProgrammingError:
    """Return the model of that name; the constant one with the preset's ``cell.programming_sigma_us``.

    Raises `DeviceError` if there is no such model.
    """
    if name == _CONSTANT:
        return ConstantProgrammingError(preset.cell.programming_sigma_us)
    if name not in PROGRAMMING_ERROR_FITS:
        raise DeviceError(f"no programming error {name!r}; there are: {', '.join(programming_error_names())}")
    return PROGRAMMING_ERROR_FITS[name]


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return ``c0 + c1 x + c2 x^2 ...``, float64, by Horner's rule.

    One rounded operation at a time, so the same on every machine: a power or a fused product would not be.
    """
    value = torch.full_like(x, coefficients[-1], dtype=torch.float64)
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def _check_covered(name: str, model: ProgrammingError, conductance_us: Tensor) -> None:
    if conductance_us.numel() == 0:
        return
    lowest, highest = (float(end) for end in torch.aminmax(conductance_us))
    # Written so that NaN, which aminmax passes on, is refused too.
    if not (lowest >= model.low_us - _SLACK_US and highest <= model.high_us + _SLACK_US):
        worst = highest if lowest >= model.low_us - _SLACK_US else lowest
        raise DeviceError(
            f"{name} covers {model.low_us:g} to {model.high_us:g} uS; got {worst:g} uS. "
            f"Nothing is known there ({model.source}): choose another model or conductance window"
        )
