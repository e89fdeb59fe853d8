"""Torch models on crossbars."""

from hwmodel.nn.conv import AnalogConv2d
from hwmodel.nn.layer import AnalogLayer, AnalogLinear, Correction, Meter
from hwmodel.nn.placement import DigitalPart
from hwmodel.nn.program import program
from hwmodel.nn.programmed import ProgrammedLayer, ProgrammedModel

__all__ = [
    "AnalogConv2d",
    "AnalogLayer",
    "AnalogLinear",
    "Correction",
    "DigitalPart",
    "Meter",
    "ProgrammedLayer",
    "ProgrammedModel",
    "program",
]
