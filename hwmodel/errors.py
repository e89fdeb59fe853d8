"""The one error tree of `hwmodel`.

HwModelError
├── PresetError       a technology file is missing, malformed or physically impossible
├── SamplingError     draws of a preset that cannot be made
├── StreamKeyError    a random stream was asked for with a key that cannot be told apart from another
├── DeviceError       a device parameter is out of its range
├── ConverterError    input that no DAC or ADC of the preset can carry
├── MappingError      weights that cannot be laid onto cells
├── CrossbarError     a crossbar was built or used in a way that would not be exact
├── LedgerError       an entry that an energy ledger must refuse
├── CostError         a cost asked for a negative amount of work
└── NetworkError      a network is missing, malformed or cannot be derived from a model
"""

from __future__ import annotations


class HwModelError(Exception):
    """Base of every error that `hwmodel` raises on purpose."""


class PresetError(HwModelError):
    """A preset could not be found, read or validated."""


class SamplingError(HwModelError, ValueError):
    """A preset was asked for draws that it cannot give."""


class StreamKeyError(HwModelError, ValueError):
    """A keyed random stream was asked for with an unusable key."""


class DeviceError(HwModelError, ValueError):
    """A device or write-verify parameter is out of range."""


class ConverterError(HwModelError, ValueError):
    """A code or step does not fit the DAC or ADC."""


class MappingError(HwModelError, ValueError):
    """A weight matrix cannot be mapped onto cells."""


class CrossbarError(HwModelError, ValueError):
    """A crossbar cannot be programmed or read as asked."""


class LedgerError(HwModelError, ValueError):
    """An energy ledger refused an entry."""


class CostError(HwModelError, ValueError):
    """A closed-form cost was asked for an impossible amount of work."""


class NetworkError(HwModelError, ValueError):
    """A network could not be found, read, validated or derived from a model."""
