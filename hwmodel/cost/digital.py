"""Energy and time of digital arithmetic, memory and radio, in closed form, and of a LoRA made of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from hwmodel.cost.pricing import AnyCost, Technology, refuse_negative

#: Accesses of one parameter in a step of Adam: value and two moments, read and written.
ADAM_ACCESSES = 6


class Precision(StrEnum):
    """Number format of digital arithmetic."""

    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


def digital_macs(technology: Technology[AnyCost], macs: float, precision: Precision) -> AnyCost:
    """Return the cost of multiply-accumulates on operands already at hand (memory is charged apart).

    A mean count, as of an input that is sparse, may be a fraction.
    """
    refuse_negative(macs=macs)
    digital = technology.digital
    mac_j = {
        Precision.INT8: digital.mac_int8_j,
        Precision.FP16: digital.mac_fp16_j,
        Precision.FP32: digital.mac_fp32_j,
    }[Precision(precision)]
    return technology.priced(macs * mac_j, macs / digital.macs_per_s)


def sram_read(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of reading bytes from SRAM."""
    part = technology.digital
    return _moved(technology, byte_count, part.sram_j_per_byte, part.sram_bytes_per_s)


def sram_write(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of writing bytes to SRAM: the same as reading them."""
    return sram_read(technology, byte_count)


def dram_read(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of fetching bytes from the DRAM off the chip."""
    part = technology.digital
    return _moved(technology, byte_count, part.dram_j_per_byte, part.dram_bytes_per_s)


def erase(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of erasing bytes of SRAM: overwriting them once."""
    return sram_write(technology, byte_count)


def radio(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of sending or receiving bytes."""
    link = technology.radio
    return _moved(technology, byte_count, link.j_per_byte, link.bytes_per_s)


def deploy(technology: Technology[AnyCost], byte_count: int, *, over_radio: bool, from_dram: bool = False) -> AnyCost:
    """Return the cost of making an adapter of so many bytes active: into SRAM, no cell is written.

    Parameters
    ----------
    byte_count
        Size of the adapter; `Cost.bytes` counts it once, whatever way it took.
    over_radio
        Whether it is received first.
    from_dram
        Whether it is fetched from the DRAM off the chip.
    """
    refuse_negative(byte_count=byte_count)
    digital, link = technology.digital, technology.radio
    energy_j = byte_count * digital.sram_j_per_byte
    seconds = byte_count / digital.sram_bytes_per_s
    if over_radio:
        energy_j = energy_j + byte_count * link.j_per_byte
        seconds = seconds + byte_count / link.bytes_per_s
    if from_dram:
        energy_j = energy_j + byte_count * digital.dram_j_per_byte
        seconds = seconds + byte_count / digital.dram_bytes_per_s
    return technology.priced(energy_j, seconds, bytes=byte_count)


def lora_forward(
    technology: Technology[AnyCost],
    *,
    inputs: int,
    outputs: int,
    rank: int,
    samples: int,
    precision: Precision = Precision.FP32,
    bytes_per_parameter: int = 4,
) -> AnyCost:
    """Return the cost of ``B (A x)`` for `samples` inputs: ``r (n + m)`` MACs each, factors fetched once."""
    refuse_negative(inputs=inputs, outputs=outputs, rank=rank, samples=samples)
    parameters = rank * (inputs + outputs)
    arithmetic = digital_macs(technology, samples * parameters, precision)
    return arithmetic + sram_read(technology, parameters * bytes_per_parameter) if samples else arithmetic


def lora_update(
    technology: Technology[AnyCost],
    parameters: int,
    *,
    steps: int = 1,
    bytes_per_parameter: int = 4,
    accesses_per_parameter: int = 2,
) -> AnyCost:
    """Return the cost of changing trained parameters in SRAM: what `update_weights` is compared with.

    Each is accessed `accesses_per_parameter` times per step: 2 for SGD (read and write), `ADAM_ACCESSES` for Adam.
    """
    refuse_negative(parameters=parameters, steps=steps)
    return sram_read(technology, parameters * steps * bytes_per_parameter * accesses_per_parameter)


def lora_training_step(
    technology: Technology[AnyCost],
    *,
    inputs: int,
    outputs: int,
    rank: int,
    samples: int,
    train_a: bool,
    bytes_per_parameter: int = 4,
    accesses_per_parameter: int = 2,
) -> AnyCost:
    """Return the cost of one step of gradient training of a LoRA on an output layer, fp32.

    Forward ``r (n + m)`` MACs per sample; backward ``r m`` for the gradient of B and, if A is trained too, ``r m`` to
    reach it and ``r n`` for its own. Inputs are read once, trained parameters as in `lora_update`. The frozen network
    in front is not in it: its features are captured, so no gradient crosses it.
    """
    forward = lora_forward(
        technology, inputs=inputs, outputs=outputs, rank=rank, samples=samples, bytes_per_parameter=bytes_per_parameter
    )
    backward_macs = rank * outputs + (rank * (inputs + outputs) if train_a else 0)
    trained = rank * outputs + (rank * inputs if train_a else 0)
    moved = samples * inputs * bytes_per_parameter + trained * bytes_per_parameter * accesses_per_parameter
    arithmetic = digital_macs(technology, samples * backward_macs, Precision.FP32)
    return forward + arithmetic + sram_read(technology, moved)


def _moved(technology: Technology[AnyCost], byte_count: int, j_per_byte: Any, bytes_per_s: Any) -> AnyCost:
    refuse_negative(byte_count=byte_count)
    return technology.priced(byte_count * j_per_byte, byte_count / bytes_per_s, bytes=byte_count)
