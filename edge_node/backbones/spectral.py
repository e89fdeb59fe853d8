"""Backbone of raw speech: random filters over short spans of the spectrum, in integers from sample to code.

Nothing personal is in it: weights are random signs drawn from the fleet seed, and so are the thresholds; each
chip of a fleet gets the same targets and differs only by its own programming error. One sample::

    l     log-mel levels of 32 bands, every 10 ms (`log_mel`)                                   (digital)
    code  (12 l) / octave, less that of 34 octaves, as 8-bit DAC codes; faint levels are cut     (digital)
    y     W code: 256 filters over 4 frames x 32 bands, 128 inputs, so one tile tall            (analogue)
    r     max(y - t, 0) and max(t - y, 0), t one threshold per filter                            (digital)
    f     mean and standard deviation of r over the sample, times 16: 4 x 256 = 1,024 codes       (digital)

Thresholds ask of each filter how often it is how far up, which mean and deviation of y alone do not say. The
level of the recording is kept by default. It is no trait of a voice, but of a microphone and how far away it
is; FSDD's speakers recorded themselves, each with their own. With `evened` it is taken out sample by sample, to
show what it is worth: one to two points of accuracy there, and much of what tells strangers (fleet seed 0:
.38 of their samples accepted at 5 % false rejects, instead of .21).

Sums are of integers and the square root is that of IEEE 754: codes are exact, like those of the other backbones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_node.backbones.log_mel import OCTAVE, LogMel
from edge_node.backbones.random_signs import program_signs
from hwmodel import Cost, Crossbar, EnergyLedger, Phase, Preset, cost
from hwmodel.streams import keyed_uint16

BANDS, SPAN, FILTERS = 32, 4, 256
#: DAC codes per octave of power; the levels, in octaves, of code 0 and of what counts as silence.
CODES_PER_OCTAVE, MIDDLE_OCTAVES, SILENCE_OCTAVES = 12, 34, 20
#: Thresholds are spread evenly over plus and minus this many ADC codes, about one deviation of y.
THRESHOLD_SPREAD = 36
#: Feature codes per ADC code.
FEATURE_SCALE = 16

_FULL_CODE = 127
#: Root mean square of the codes of speech; it only sets the ADC range.
_CODE_RMS = 62.0
#: Spans computed at once: bounds scratch memory for many nodes.
_CHUNK = 2_048


@dataclass(frozen=True, eq=False)
class SpectralFilters:
    """Filters of N chips: ``[256, 128]`` signs on the tiles of every node; `evened` takes each sample's mean out."""

    filters: Crossbar
    evened: bool
    _thresholds: Tensor
    _front_end: LogMel
    _preset: Preset

    @classmethod
    def program(
        cls, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger, *, evened: bool = False
    ) -> SpectralFilters:
        """Program the filters into every node's crossbars; charged to `Phase.PROGRAM`."""
        crossbar = program_signs(
            preset,
            fleet_seed,
            node_ids,
            ledger,
            layer="spectral",
            outputs=FILTERS,
            inputs=SPAN * BANDS,
            input_rms=_CODE_RMS,
        )
        draws = keyed_uint16(fleet_seed, "backbone.spectral.thresholds", count=FILTERS)
        thresholds = ((draws * (2 * THRESHOLD_SPREAD + 1)) >> 16) - THRESHOLD_SPREAD
        return cls(crossbar, evened, thresholds, LogMel(BANDS), preset)

    @property
    def features(self) -> int:
        """Feature codes per sample: mean and deviation above and below each threshold."""
        return 4 * FILTERS

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.filters.cell_writes.clone()

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples, float32 [length, 1] at 8 kHz, through every chip; see `Backbone.capture`."""
        spans = [self.spans(sample) for sample in samples]
        lengths = torch.tensor([len(span) for span in spans], dtype=torch.int64)
        nodes = len(self.filters.nodes)
        # Up to 3,300 frames of squares below 2^15: sums stay below 2^31.
        sums = torch.zeros(2, nodes, len(samples), 2 * FILTERS, dtype=torch.int32)
        if samples:
            codes, owner = torch.cat(spans), torch.arange(len(samples)).repeat_interleave(lengths)
            for start in range(0, len(codes), _CHUNK):
                part = slice(start, start + _CHUNK)
                self._pool(sums, codes[part], owner[part], ledger, phase)
        ledger.charge(phase, self._digital_cost(int(lengths.sum())))
        count = lengths[None, :, None]
        total, squares = sums[0].long(), sums[1].long()
        mean = total.double() / count
        deviation = (count * squares - total.square()).double().sqrt() / count
        return (torch.cat([mean, deviation], dim=2) * FEATURE_SCALE).round_().to(torch.int32)

    def spans(self, sample: np.ndarray) -> Tensor:
        """Return the DAC codes of a sample, int32 [frames - 3, 128]: each span of four frames.

        `SampleError` if the sample is not float32 [samples, 1] within -1 ... 1, or too short or long.
        """
        levels = np.maximum(self._front_end.levels(sample), SILENCE_OCTAVES * OCTAVE)
        middle = MIDDLE_OCTAVES * OCTAVE
        if self.evened:
            middle = (2 * int(levels.sum()) + levels.size) // (2 * levels.size)
        codes = np.clip(((levels - middle) * CODES_PER_OCTAVE + OCTAVE // 2) // OCTAVE, -_FULL_CODE, _FULL_CODE)
        spans = np.lib.stride_tricks.sliding_window_view(codes, (SPAN, BANDS)).reshape(-1, SPAN * BANDS)
        return torch.from_numpy(spans.astype(np.int32))

    def _pool(self, sums: Tensor, codes: Tensor, owner: Tensor, ledger: EnergyLedger, phase: Phase) -> None:
        """Add the outputs of some spans to the sums of the samples that they belong to."""
        y = self.filters.mvm(codes.expand(len(self.filters.nodes), -1, -1), ledger=ledger, phase=phase)
        y -= self._thresholds
        sides = torch.cat([y.clamp(min=0), (-y).clamp_(min=0)], dim=2)
        sums[0].index_add_(1, owner, sides)
        sums[1].index_add_(1, owner, sides.square_())

    def _digital_cost(self, spans: int) -> Cost:
        """Fourier sums, mel bands and scaling of each frame; two sums of each output."""
        macs = spans * (self._front_end.macs_per_frame + 2 * BANDS + 4 * FILTERS)
        return cost.digital_macs(self._preset, macs, cost.Precision.INT8) + cost.sram_read(
            self._preset, spans * SPAN * BANDS
        )
