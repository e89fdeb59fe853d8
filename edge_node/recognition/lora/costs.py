"""Costs of a LoRA on one node: of its use, and of a step of its training."""

from __future__ import annotations

from reram_fleet.v1.types_pb2 import LoraShape

from edge_node.recognition.lora.stage import Stage
from hwmodel import Cost, Preset, cost

#: SRAM bytes of one code of a branch or a row, which is int16.
BYTES_PER_CODE = 2


def use(preset: Preset, shape: LoraShape, rows: int, samples: int) -> Cost:
    """Return what it takes to read samples for some rows; codes of rows and branch are fetched once."""
    stage = Stage.of(shape)
    if not stage.neurons:
        return cost.lora_forward(
            preset,
            inputs=shape.features,
            outputs=rows,
            rank=stage.rank,
            samples=samples,
            bytes_per_parameter=BYTES_PER_CODE,
        )
    # A x is among the captured codes.
    branch, reader = stage.neurons * stage.rank, rows * stage.width
    spent = cost.digital_macs(preset, samples * (stage.segments * branch + reader), cost.Precision.FP32)
    return spent + cost.sram_read(preset, (branch + reader) * BYTES_PER_CODE)


def training_step(preset: Preset, stage: Stage, rows: int, samples: int) -> Cost:
    """Return what a step on all samples takes: rows, B by segments, and what flows back through the rows.

    A is frozen: a step sees only A x of each sample.
    """
    spent = cost.digital_macs(preset, samples * rows * stage.neurons, cost.Precision.FP32)
    for outputs, width, uses in ((rows, stage.width, samples), (stage.neurons, stage.rank, samples * stage.segments)):
        spent += cost.lora_training_step(
            preset,
            inputs=0,
            outputs=outputs,
            rank=width,
            samples=uses,
            train_a=False,
            accesses_per_parameter=cost.ADAM_ACCESSES,
        )
    return spent
