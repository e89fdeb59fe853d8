"""Backbone of any torch model: its matrices on crossbars, its output as feature codes.

One sample::

    y   every `nn.Linear` and ungrouped `nn.Conv2d` on tiles, converter ranges fixed by public samples   (analogue)
    f   output of the model, flattened
    c   clamp(round(gain f), -limit, limit): feature codes

What the model does between its layers is float32, whose last bit may depend on shapes. So each sample goes through each
chip alone: codes are then bitwise equal for any batch, order and number of nodes. On another processor or release of
torch a value at a rounding boundary may become the next DAC code, which no other backbone's can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from reram_fleet.code_ranges import CodeRange
from torch import Tensor, nn

from edge_node.errors import SampleError, TaskError
from hwmodel import Cost, EnergyLedger, HwModelError, Phase, Preset, ProgrammedModel, cost, program

#: Public samples that converter ranges are fixed by, evenly spaced over all.
_EXAMPLES = 64


@dataclass(frozen=True, eq=False)
class TorchModel:
    """A torch model on the crossbars of N nodes.

    Attributes
    ----------
    chips
        What `hwmodel.program` made of the model.
    codes, gain
        Range of the feature codes, and codes per unit of the output.
    shaped
        Returns a sample that travelled as the model takes it; `SampleError` if it cannot be one.
    """

    chips: ProgrammedModel
    codes: CodeRange
    gain: float
    shaped: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def program(
        cls,
        model: nn.Module,
        examples: Sequence[np.ndarray],
        codes: CodeRange,
        gain: float,
        shaped: Callable[[np.ndarray], np.ndarray],
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
    ) -> TorchModel:
        """Program a model into every node's crossbars; charged to `Phase.PROGRAM`.

        `examples` are public samples as they travel. `TaskError` if there is nothing to program, a matrix of the model
        has no form on a crossbar, or the samples do not reach a layer.
        """
        chosen = [examples[k] for k in np.unique(np.linspace(0, len(examples) - 1, _EXAMPLES).round().astype(int))]
        calibration = torch.from_numpy(np.stack([shaped(sample) for sample in chosen]))
        try:
            chips = program(model, preset, fleet_seed, nodes=tuple(node_ids), calibration=calibration, ledger=ledger)
        except HwModelError as error:
            raise TaskError(f"the model cannot be put on crossbars: {error}") from error
        except Exception as error:
            raise TaskError(f"the model fails on public samples ({type(error).__name__}: {error})") from error
        for part in chips.digital:
            # One that is longer than one along two axes may be a matrix: its products would be on no bill.
            if sum(length > 1 for length in chips.module.get_parameter(part.name).shape) > 1:
                raise TaskError(
                    f"the model cannot be put on crossbars: {part.name} would stay digital ({part.reason}). Crossbars "
                    "take nn.Linear and nn.Conv2d with groups=1; register as a buffer what multiplies nothing"
                )
        return cls(chips, codes, gain, shaped)

    @property
    def features(self) -> int:
        """Feature codes per sample."""
        return self.codes.features

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return torch.stack([layer.crossbar.cell_writes for layer in self.chips.analog.values()]).sum(dim=0)

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples through every chip; see `Backbone.capture`."""
        inputs = [torch.tensor(self.shaped(sample)) for sample in samples]
        out = torch.zeros(len(self.chips.nodes), len(samples), self.features, dtype=torch.int32)
        # Centred, codes are at most twice as large.
        limit = self.codes.code_max // 2
        before = self._outputs
        with self.chips.charging(phase, ledger):
            for number, sample in enumerate(inputs):
                for node, codes in enumerate(out):
                    features = model_features(partial(self._run, node), sample)
                    if len(features) != self.features:
                        raise SampleError(
                            f"the model made {len(features)} features of a sample, its task says {self.features}"
                        )
                    codes[number] = (features * self.gain).round_().clamp_(-limit, limit)
        ledger.charge(phase, self._digital_cost(self._outputs - before))
        return out

    def _run(self, node: int, batch: Tensor) -> object:
        return self.chips(batch, node=node)[0]

    @property
    def _outputs(self) -> int:
        """Numbers that the crossbars of one node have put out."""
        layers = [layer.crossbar for layer in self.chips.analog.values()]
        return sum(crossbar.out_features * int(crossbar.reads[0]) for crossbar in layers)

    def _digital_cost(self, outputs: int) -> Cost:
        """Scale and bias, and an activation, of each output of a layer."""
        preset = self.chips.preset
        return cost.digital_macs(preset, 2 * outputs, cost.Precision.INT8) + cost.sram_read(preset, outputs)


def model_features(run: Callable[[Tensor], object], sample: Tensor) -> Tensor:
    """Return what a model makes of one sample, flattened, float64 [features].

    `SampleError` if it fails, or returns anything but finite numbers with the batch first.
    """
    try:
        with torch.no_grad():
            output = run(sample.unsqueeze(0))
    except Exception as error:
        raise SampleError(
            f"the model fails on a sample {list(sample.shape)} ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != 1 or not output.is_floating_point():
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise SampleError(f"of one sample the model is to return a float tensor [1, ...]; it returned {found}")
    features = output.detach().flatten().to(torch.float64)
    if not bool(torch.isfinite(features).all()):
        raise SampleError("the model made a feature of a sample that is NaN or infinite")
    return features
