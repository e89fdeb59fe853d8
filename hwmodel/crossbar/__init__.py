"""A layer of weights on crossbar tiles: programming, reading, and how closely it follows the hardware."""

from hwmodel.crossbar.adc_range import ADC_RANGE_SIGMAS, default_adc_step, plane_adc_step
from hwmodel.crossbar.fidelity import Fidelity
from hwmodel.crossbar.layer import Crossbar

__all__ = ["ADC_RANGE_SIGMAS", "Crossbar", "Fidelity", "default_adc_step", "plane_adc_step"]
