"""Engine of nodes that generate: integer adapters of private classes, under the node's lock.

Nothing here touches a chip: the `ImageGenerator` generates and learns, on what this engine holds. An adapter is a
vector of integers (`edge_node.generation.class_codes`); a probe is one as well, and is answered by the adapter that
lies nearest in direction, from exact integer products, so that the same probe has the same answer on every machine.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import SUBJECT_ADAPTER_KIND_TRAINED, Eraser, SubjectAdapter
from torch import Tensor

from edge_node.engine import Identification, NodeEngine
from edge_node.errors import AdapterError, SampleError
from edge_node.generation.class_codes import MAX_CODE
from edge_node.generation.diffusion import COLOUR_LEVELS
from edge_node.generation.dit import CHANNELS, IMAGE_SIDE
from hwmodel import Cost, EnergyLedger, NetworkSpec, Phase, Preset, cost

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator

#: Cosine from which a probe is accepted. A canary's probe is its adapter but for rounding and size: .99 or
#: more. Of two unrelated vectors it is about 0, of what two nodes learnt of one class about .5.
ACCEPTED = 0.75
#: Rows of pixels, with a pixel's colours side by side.
_SAMPLE_SHAPE = (IMAGE_SIDE, IMAGE_SIDE * CHANNELS)


class GenerationEngine(NodeEngine):
    """N nodes that generate; a device is N = 1.

    Parameters
    ----------
    features
        Codes of a class.
    cell_writes, wear
        ReRAM pulses that programming gave to each chip, int64 [N], and the share of endurance that they took of its
        most worn layer, float64 [N]; `ledger` has the cost.
    network
        What is on every chip; None for a stand-in without crossbars.
    """

    def __init__(
        self,
        node_ids: Sequence[str],
        preset: Preset,
        *,
        features: int,
        cell_writes: Tensor,
        wear: Tensor,
        ledger: EnergyLedger,
        network: NetworkSpec | None = None,
    ) -> None:
        super().__init__(node_ids, preset, features, ledger)
        self._cell_writes, self._wear, self._network = cell_writes, wear, network
        self._erasers: list[tuple[Eraser, ...]] = [()] * len(self.node_ids)
        self._accept_threshold = torch.full((len(self.node_ids),), ACCEPTED, dtype=torch.float64)

    @classmethod
    def beside(cls, generator: ImageGenerator, node_id: str, preset: Preset, saved: Mapping[Phase, Cost]) -> Self:
        """Return the engine of one device beside what generates on its chip.

        `saved` is what the device has spent so far, empty at its first start: only then is the chip programmed.
        """
        ledger = EnergyLedger(1)
        ledger.restore(saved)
        if not saved.get(Phase.PROGRAM, Cost()).cell_writes:
            ledger.charge(Phase.PROGRAM, generator.programming)
        return cls(
            [node_id],
            preset,
            features=generator.features,
            cell_writes=torch.tensor([generator.programming.cell_writes]),
            wear=torch.tensor([generator.wear], dtype=torch.float64),
            ledger=ledger,
            network=generator.network,
        )

    @property
    def accept_threshold(self) -> Tensor:
        """Score from which a probe is accepted, float64 [N]: a cosine."""
        return self._accept_threshold

    @property
    def cell_writes(self) -> Tensor:
        """ReRAM pulses given to each chip since it was made, int64 [N]."""
        return self._cell_writes

    @property
    def wear(self) -> Tensor:
        """Share of the endurance used up in each chip's most worn layer, float64 [N]."""
        return self._wear

    def network(self, node: int) -> NetworkSpec | None:
        """Return the transformer with a class's LoRA: `edge_node.generation.class_fit.generation_network`."""
        self._bank(node)
        return self._network

    def capture(
        self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER, nodes: Sequence[int] | None = None
    ) -> Tensor:
        """Return images as colour levels, int32 [nodes, samples, 1728]: the camera's integers, no chip takes part.

        `SampleError` if one is not float32 [24, 72], finite, from 0 to 1.
        """
        for number, sample in enumerate(samples):
            if sample.shape != _SAMPLE_SHAPE:
                raise SampleError(f"image {number} has shape {list(sample.shape)}; expected {list(_SAMPLE_SHAPE)}")
            if not np.isfinite(sample).all() or sample.min() < 0 or sample.max() > 1:
                raise SampleError(f"image {number} has pixels that are not numbers from 0 to 1")
        levels = [np.rint(sample.astype(np.float64) * COLOUR_LEVELS).astype(np.int32).ravel() for sample in samples]
        return torch.from_numpy(np.stack(levels)).expand(len(self._named(nodes)), -1, -1)

    def set_subject(self, node: int, adapter: SubjectAdapter) -> None:
        """Make a class active on a node, replacing one with the same tag.

        `AdapterError` if it is not a trained one of this length, or has codes beyond 16 bits; nothing is changed then.
        """
        if adapter.kind != SUBJECT_ADAPTER_KIND_TRAINED:
            raise AdapterError("the adapter is a sum of feature codes; this node generates and takes trained ones")
        if adapter.code_sum and max(map(abs, adapter.code_sum)) > MAX_CODE * max(1, adapter.count):
            raise AdapterError(f"the adapter's codes exceed {MAX_CODE} per node that trained it")
        super().set_subject(node, adapter)

    def set_erasers(self, node: int, erasers: Sequence[Eraser]) -> None:
        """Make these erasers active on a node, and no others.

        `AdapterError` if one is not of this length, has codes beyond 16 bits, or is there twice; nothing is changed.
        """
        self._bank(node)
        concepts = [eraser.concept for eraser in erasers]
        if len(set(concepts)) != len(concepts):
            raise AdapterError("a concept has two erasers")
        for eraser in erasers:
            if len(eraser.codes) != self.features:
                raise AdapterError(
                    f"the eraser of {eraser.concept} has {len(eraser.codes)} codes, this node's have {self.features}"
                )
            if max(map(abs, eraser.codes)) > MAX_CODE:
                raise AdapterError(f"codes of the eraser of {eraser.concept} exceed {MAX_CODE}")
        self._erasers[node] = tuple(copy.deepcopy(sorted(erasers, key=lambda eraser: eraser.concept)))

    def active_erasers(self, node: int) -> Sequence[Eraser]:
        """Return the node's erasers, by concept."""
        self._bank(node)
        return self._erasers[node]

    def identify(
        self, codes: Tensor, phase: Phase = Phase.VERIFY, nodes: Sequence[int] | None = None
    ) -> Identification:
        """Answer probes, integers [nodes, B, features], by the adapter that lies nearest in direction."""
        named = self._named(nodes)
        self._check_codes(codes, len(named))
        answers = [self._nearest(node, probes) for node, probes in zip(named, codes, strict=True)]
        for node in named:
            macs = codes.shape[1] * len(self._banks[node].tags) * self.features
            spent = cost.digital_macs(self._preset, macs, cost.Precision.FP32)
            self.ledger.charge(phase, spent, node)
        names = tuple(tuple(tag for tag, _ in row) for row in answers)
        score = torch.tensor([[score for _, score in row] for row in answers], dtype=torch.float64)
        score = score.reshape(len(named), -1)
        return Identification(names, score, score >= ACCEPTED, names, names)

    def _nearest(self, node: int, probes: Tensor) -> list[tuple[str, float]]:
        tags = self._banks[node].tags
        if not tags:
            return [("", float("-inf"))] * len(probes)
        sums, counts = self._banks[node].sums()
        # Rounded means of 16 bits: their products add up exactly in int64.
        means = torch.div(2 * sums + counts[:, None], 2 * counts[:, None], rounding_mode="floor")
        squares = means.square().sum(dim=1).tolist()
        answers = []
        for probe in probes.to(torch.int64).clamp(-MAX_CODE, MAX_CODE):
            products, square = (means * probe).sum(dim=1).tolist(), int(probe.square().sum())
            cosines = [
                product / math.sqrt(max(1, square * own)) for product, own in zip(products, squares, strict=True)
            ]
            nearest = max(range(len(tags)), key=cosines.__getitem__)
            answers.append((tags[nearest], cosines[nearest]))
        return answers
