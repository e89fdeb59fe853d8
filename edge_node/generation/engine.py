"""Engine of nodes that generate: integer adapters of private classes, under the node's lock.

Nothing here touches a chip: the `ImageGenerator` generates and learns, on what this engine holds. An adapter is a
vector of integers (`edge_node.generation.class_codes`); a probe is one as well, and is answered by the adapter that
lies nearest in direction, from exact integer products, so that the same probe has the same answer on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import (
    SUBJECT_ADAPTER_KIND_TRAINED,
    DeploymentOverhead,
    RevisionContent,
    SubjectAdapter,
)
from torch import Tensor

from edge_node.deployment import deploy
from edge_node.errors import AdapterError, EngineError, SampleError
from edge_node.generation.class_codes import MAX_CODE
from edge_node.generation.diffusion import GREY_LEVELS
from edge_node.generation.dit import IMAGE_SIDE
from edge_node.recognition.bank import BYTES_PER_FEATURE, AdapterBank
from edge_node.recognition.engine import Identification
from hwmodel import EnergyLedger, Phase, Preset, cost

#: Cosine from which a probe is accepted. A canary's probe is its adapter but for rounding and size: .99 or
#: more. Of two unrelated vectors it is about 0, of what two nodes learnt of one class about .5.
ACCEPTED = 0.75


class GenerationEngine:
    """N nodes that generate; a device is N = 1.

    Parameters
    ----------
    node_ids, preset
        Ids on the node axis, and the technology that everything is charged by.
    features
        Codes of a class.
    cell_writes
        ReRAM pulses that programming gave to each chip, int64 [N].
    ledger
        Cost so far, programming included.
    """

    def __init__(
        self, node_ids: Sequence[str], preset: Preset, *, features: int, cell_writes: Tensor, ledger: EnergyLedger
    ) -> None:
        self.node_ids = tuple(node_ids)
        self.features = features
        self.ledger = ledger
        self._preset = preset
        self._cell_writes = cell_writes
        self._banks = [AdapterBank(features) for _ in node_ids]

    @property
    def accept_threshold(self) -> Tensor:
        """Score from which a probe is accepted, float64 [N]: a cosine."""
        return torch.full((len(self.node_ids),), ACCEPTED, dtype=torch.float64)

    @property
    def cell_writes(self) -> Tensor:
        """ReRAM pulses given to each chip since it was made, int64 [N]."""
        return self._cell_writes.clone()

    def capture(self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER) -> Tensor:
        """Return images as grey levels, int32 [N, samples, 64]: the camera's integers, no chip takes part.

        Parameters
        ----------
        samples
            float32 [8, 8] each, from 0 to 1.

        Raises
        ------
        SampleError
            If one has another shape, is not finite, or has pixels outside 0 to 1.
        """
        for number, sample in enumerate(samples):
            if sample.shape != (IMAGE_SIDE, IMAGE_SIDE):
                raise SampleError(
                    f"image {number} has shape {list(sample.shape)}; expected [{IMAGE_SIDE}, {IMAGE_SIDE}]"
                )
            if not np.isfinite(sample).all() or sample.min() < 0 or sample.max() > 1:
                raise SampleError(f"image {number} has pixels that are not numbers from 0 (white) to 1 (black)")
        levels = [np.rint(sample.astype(np.float64) * GREY_LEVELS).astype(np.int32).ravel() for sample in samples]
        return torch.from_numpy(np.stack(levels)).expand(len(self.node_ids), -1, -1)

    def set_subject(self, node: int, adapter: SubjectAdapter) -> None:
        """Make a class active on a node, replacing one with the same tag.

        Raises
        ------
        AdapterError
            If it is not a trained one of this length, or has codes beyond 16 bits; nothing is changed.
        """
        if adapter.kind != SUBJECT_ADAPTER_KIND_TRAINED:
            raise AdapterError("the adapter is a sum of feature codes; this node generates and takes trained ones")
        if adapter.code_sum and max(map(abs, adapter.code_sum)) > MAX_CODE * max(1, adapter.count):
            raise AdapterError(f"the adapter's codes exceed {MAX_CODE} per node that trained it")
        self._bank(node).set_subject(adapter)

    def drop_subjects(self, node: int, tags: Collection[str]) -> int:
        """Overwrite the adapters of these tags in SRAM, charged to `Phase.ERASE`; return how many."""
        dropped, *_ = self._bank(node).drop(tags)
        if dropped:
            size = dropped * self.features * BYTES_PER_FEATURE
            self.ledger.charge(Phase.ERASE, cost.erase(self._preset, size), node)
        return dropped

    def active_subjects(self, node: int) -> list[SubjectAdapter]:
        """Return copies of the node's adapters, sorted by tag."""
        return self._bank(node).subjects()

    def identify(self, codes: Tensor, phase: Phase = Phase.VERIFY) -> Identification:
        """Answer probes by the adapter that lies nearest in direction.

        Parameters
        ----------
        codes
            Integers [N, B, features].
        phase
            What the comparison is charged to.

        Raises
        ------
        EngineError
            If the codes have another shape or are not integers.
        """
        nodes = len(self.node_ids)
        if codes.ndim != 3 or codes.shape[0] != nodes or codes.shape[2] != self.features:
            raise EngineError(f"probes are [{nodes}, B, {self.features}]; got {list(codes.shape)}")
        if codes.is_floating_point():
            raise EngineError(f"probes are integers; got {codes.dtype}")
        answers = [self._nearest(node, codes[node]) for node in range(nodes)]
        for node in range(nodes):
            macs = codes.shape[1] * len(self._banks[node].tags) * self.features
            spent = cost.digital_macs(self._preset, macs, cost.Precision.FP32)
            self.ledger.charge(phase, spent, node)
        names = tuple(tuple(tag for tag, _ in row) for row in answers)
        score = torch.tensor([[score for _, score in row] for row in answers], dtype=torch.float64)
        score = score.reshape(nodes, -1)
        return Identification(names, score, score >= self.accept_threshold[:, None], names, names)

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

    def deployment(self, node: int, content: RevisionContent, received_bytes: int) -> DeploymentOverhead:
        """Charge and return what it takes to make a revision active on a node (`deployment.deploy`).

        The alternative writes the same factors into cells, one per code.
        """
        self._bank(node)
        numbers = len(content.subjects) * self.features
        return deploy(
            self._preset,
            self.ledger,
            node,
            received_bytes=received_bytes,
            sram_bytes=numbers * BYTES_PER_FEATURE,
            weights=numbers,
        )

    def charge_radio(self, node: int, byte_count: int) -> None:
        """Charge bytes sent or received to `Phase.RADIO`."""
        self._bank(node)
        self.ledger.charge(Phase.RADIO, cost.radio(self._preset, byte_count), node)

    def _bank(self, node: int) -> AdapterBank:
        if not 0 <= node < len(self._banks):
            raise EngineError(f"no node {node}: the engine has nodes 0 to {len(self._banks) - 1}")
        return self._banks[node]
