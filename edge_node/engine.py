"""Engine of a batch of nodes, whatever their task: adapters in SRAM, and the cost of all that is done.

A node calls it under its lock, so everything is quick: suppressing a forget waits for it. What takes longer, learning
a class and generating images, an `ImageGenerator` does with chips of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from reram_fleet.crypto.digests import NO_HEAD
from reram_fleet.v1.types_pb2 import (
    AdapterDigest,
    ChipFigures,
    ClosedFormHead,
    DeploymentOverhead,
    Eraser,
    RatioBand,
    RevisionContent,
    SharedLora,
    SubjectAdapter,
)
from reram_fleet.wire.shared_lora import code_count
from torch import Tensor

from edge_node.errors import AdapterError, EngineError
from edge_node.recognition import head_share
from edge_node.recognition.adapter_pool import AdapterPool
from edge_node.recognition.bank import BYTES_PER_FEATURE, AdapterBank
from edge_node.recognition.head import BYTES_PER_CODE
from edge_node.recognition.lora.costs import BYTES_PER_CODE as BYTES_PER_LORA_CODE
from edge_node.recognition.training.rounds import RoundRequest, RoundResult
from hwmodel import EnergyLedger, NetworkSpec, Phase, Preset, cost
from hwmodel.cost.ratios import network_ratios

#: Draws of a preset for the bands of a chip's ratios: their ends then scatter by about one percentile, and a node
#: has them in some hundredths of a second.
_DRAWS = 1000
#: Networks whose ratios are kept: those of a node change with the people who are there.
_NETWORKS = 64


@dataclass(frozen=True, eq=False)
class Identification:
    """Answers to B samples on N nodes; each tag is the best match, also below the threshold, or "" without adapters.

    Attributes
    ----------
    best_tag
        [N][B].
    score
        float64 [N, B]: cosine plus a share of the LoRA's logit over its gain (`Recipe.accepting`), averaged with the
        head's score in units of the thresholds for people who are in the head (`HeadAdapter.fused`); -inf if the node
        has no adapter. The best match is that of the whole logit.
    accepted
        bool [N, B]: the score reaches `NodeEngine.accept_threshold`.
    best_tag_subject_only, best_tag_without_head
        [N][B]: by subject adapters alone, and with the LoRA.
    """

    best_tag: tuple[tuple[str, ...], ...]
    score: Tensor
    accepted: Tensor
    best_tag_subject_only: tuple[tuple[str, ...], ...]
    best_tag_without_head: tuple[tuple[str, ...], ...]


class NodeEngine(ABC):
    """N nodes as one batch; a device is N = 1. What is about one node takes no longer with many others.

    Tensors over all nodes are those that the engine keeps, not copies of them.

    Attributes
    ----------
    node_ids
        Ids on the node axis.
    features
        Integers of a subject adapter, and of a probe.
    ledger
        Cost of everything done so far, by node and phase.
    calibrations
        How often each node was calibrated while it ran, int64 [N].
    """

    def __init__(self, node_ids: Sequence[str], preset: Preset, features: int, ledger: EnergyLedger) -> None:
        self.node_ids, self.features, self.ledger = tuple(node_ids), features, ledger
        self._preset = preset
        self.calibrations = torch.zeros(len(self.node_ids), dtype=torch.int64)
        self._pool = AdapterPool()
        self._banks = [AdapterBank(features, self._pool) for _ in self.node_ids]
        # Of the networks asked for last: most nodes have the same.
        self._ratios: OrderedDict[NetworkSpec, tuple[RatioBand, ...]] = OrderedDict()

    @property
    @abstractmethod
    def accept_threshold(self) -> Tensor:
        """Score from which an answer of `identify` is accepted, float64 [N]."""

    @property
    @abstractmethod
    def cell_writes(self) -> Tensor:
        """ReRAM pulses given to each chip since it was made, int64 [N]."""

    @property
    @abstractmethod
    def wear(self) -> Tensor:
        """Share of the endurance used up in each chip's most worn layer, float64 [N]; see `hwmodel.Crossbar.wear`."""

    @abstractmethod
    def network(self, node: int) -> NetworkSpec | None:
        """Return the crossbars that a node's chip has, as one sample uses them, and the LoRA that is trained on it.

        None of an engine without crossbars.
        """

    def chip_figures(self, node: int) -> ChipFigures:
        """Return the paper's three ratios for a node's own network on its preset, and the endurance that is left.

        The interpretations are those of `hwmodel.cost.ratios.network_ratios`, over the preset's ranges. A, which nodes
        draw from a seed, counts as if it were trained and sent like B, and every step of training as if it read the
        crossbars anew, of which nodes that recognise keep the codes: training and deployment are from below. Ratios
        that the network does not have are left out.
        """
        network = self.network(node)
        bands = self._ratio_bands(network) if network is not None else ()
        return ChipFigures(ratios=bands, endurance_left=max(0.0, 1 - float(self.wear[node])))

    def _ratio_bands(self, network: NetworkSpec) -> tuple[RatioBand, ...]:
        bands = self._ratios.pop(network, None)
        if bands is None:
            bands = tuple(
                RatioBand(
                    ratio=f"PAPER_RATIO_{found.ratio.name}", value=found.nominal, low=found.band.p5, high=found.band.p95
                )
                for found in network_ratios(network, self._preset, draws=_DRAWS)
            )
        self._ratios[network] = bands
        if len(self._ratios) > _NETWORKS:
            self._ratios.popitem(last=False)
        return bands

    @abstractmethod
    def capture(
        self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER, nodes: Sequence[int] | None = None
    ) -> Tensor:
        """Return what nodes, all if None, keep of samples, integers [nodes, samples, width].

        `SampleError` if one does not fit.
        """

    @abstractmethod
    def identify(self, codes: Tensor, phase: Phase = Phase.INFER, nodes: Sequence[int] | None = None) -> Identification:
        """Say which adapter fits codes, integers [nodes, B, features], best, on nodes, all if None.

        `Phase.VERIFY` is for an erase order's probes.
        """

    def set_subject(self, node: int, adapter: SubjectAdapter) -> None:
        """Make a subject adapter active, replacing one of its tag; `AdapterError` if it does not fit."""
        self._bank(node).set_subject(adapter)

    def active_subjects(self, node: int) -> list[SubjectAdapter]:
        """Return copies of the node's subject adapters, sorted by tag."""
        return self._bank(node).subjects()

    def subject_digests(self, node: int) -> list[AdapterDigest]:
        """Return the digests of the node's subject adapters, sorted by tag."""
        return self._bank(node).digests()

    def holds_subject(self, node: int, adapter: SubjectAdapter) -> bool:
        """Whether this very adapter is active on a node."""
        return self._bank(node).holds(adapter)

    def digest_of_subject(self, node: int, adapter: SubjectAdapter) -> bytes:
        """Return the digest of an adapter: known already if it is active."""
        return self._bank(node).digest_of(adapter)

    def active_tags(self, node: int) -> tuple[str, ...]:
        """Return the tags of the node's subject adapters, sorted."""
        return self._bank(node).tags

    def drop_subjects(self, node: int, tags: Collection[str]) -> int:
        """Drop subject adapters, LoRA rows and head columns from SRAM; return how many adapters were dropped.

        What is overwritten is charged to `Phase.ERASE`. Unknown tags are no error: a forget is idempotent. The head's
        other columns were solved with these people among the negatives, and depend on them until the next revision
        brings another head.
        """
        bank = self._bank(node)
        subjects, lora_codes, columns = bank.drop(tags)
        if size := self._sram_bytes(subjects, columns, lora_codes):
            self.ledger.charge(Phase.ERASE, cost.erase(self._preset, size), node)
        return subjects

    def set_erasers(self, node: int, erasers: Sequence[Eraser]) -> None:
        """Make these erasers active on a node, and no others; `AdapterError` if they do not fit."""
        if erasers:
            raise AdapterError(f"node {self.node_ids[node]} recognises and shows nothing: it takes no erasers")

    def active_erasers(self, node: int) -> Sequence[Eraser]:
        """Return the node's erasers, by concept."""
        self._bank(node)
        return ()

    def deployment(self, node: int, content: RevisionContent, received_bytes: int) -> DeploymentOverhead:
        """Charge and return what it takes to make a revision active on a node.

        The radio is charged to `Phase.RADIO`, writing the SRAM to `Phase.PROGRAM`; no cell is written. The alternative
        receives the same bytes and writes the same rows and columns into ReRAM, one cell per feature. The ratio is
        that of the chip alone: a byte on air costs 5,000 times a byte of SRAM, so with the radio on both sides (the
        other ratio) it says more about the radio than about either way to store.
        """
        self._bank(node)
        lora, subjects, columns = content.shared_lora, len(content.subjects), len(content.head.subject_tags)
        erased = sum(len(eraser.codes) for eraser in content.erasers)
        size = self._sram_bytes(subjects, columns, code_count(lora))
        size += erased * BYTES_PER_FEATURE
        radio, sram = cost.radio(self._preset, received_bytes), cost.sram_write(self._preset, size)
        write = cost.program_weights(self._preset, (subjects + columns) * self.features)
        analogue, spent = radio + write, radio + sram
        self.ledger.charge(Phase.RADIO, radio, node)
        self.ledger.charge(Phase.PROGRAM, sram, node)
        return DeploymentOverhead(
            energy_j=spent.energy_j,
            seconds=spent.seconds,
            bytes=radio.bytes,
            cell_writes=spent.cell_writes,
            reprogramming_ratio=_ratio(write.energy_j, sram.energy_j),
            reprogramming_energy_j=analogue.energy_j,
            reprogramming_seconds=analogue.seconds,
            reprogramming_cell_writes=analogue.cell_writes,
            radio_energy_j=radio.energy_j,
            reprogramming_ratio_with_radio=_ratio(analogue.energy_j, spent.energy_j),
        )

    def charge_radio(self, node: int, byte_count: int) -> None:
        """Charge bytes sent or received to `Phase.RADIO`."""
        self._bank(node)
        self.ledger.charge(Phase.RADIO, cost.radio(self._preset, byte_count), node)

    def _bank(self, node: int) -> AdapterBank:
        if not 0 <= node < len(self._banks):
            raise EngineError(f"no node {node}: the engine has nodes 0 to {len(self._banks) - 1}")
        return self._banks[node]

    def _named(self, nodes: Sequence[int] | None) -> Sequence[int]:
        """Return the nodes that are meant; `EngineError` if there is no such node, none is named or one twice."""
        if nodes is None:
            return range(len(self.node_ids))
        for node in nodes:
            self._bank(node)
        if not nodes or len(set(nodes)) != len(nodes):
            raise EngineError(f"name at least one node, and none twice; got {list(nodes)}")
        return nodes

    def _check_codes(self, codes: Tensor, nodes: int) -> None:
        if codes.ndim != 3 or codes.shape[0] != nodes or codes.shape[2] != self.features:
            raise EngineError(f"codes are [{nodes}, B, {self.features}]; got {list(codes.shape)}")
        if codes.is_floating_point():
            raise EngineError(f"codes are integers; got {codes.dtype}: pass what `capture` returned")

    def _sram_bytes(self, subjects: int, columns: int, lora_codes: int) -> int:
        size = subjects * self.features * BYTES_PER_FEATURE + columns * self.features * BYTES_PER_CODE
        return size + lora_codes * BYTES_PER_LORA_CODE


class RecognitionEngine(NodeEngine):
    """Engine of nodes that recognise: also a shared LoRA, a closed-form head, and rounds of learning jobs."""

    def set_lora(self, node: int, lora: SharedLora | None) -> None:
        """Make a shared LoRA active on a node, or none; `AdapterError` if it does not fit, nothing is changed then."""
        self._bank(node).set_lora(lora)

    def active_lora(self, node: int) -> SharedLora | None:
        """Return a copy of the node's LoRA without dropped rows; None if there is none or no row is left."""
        return self._bank(node).lora()

    def set_head(self, node: int, head: ClosedFormHead | None) -> None:
        """Make a closed-form head active on a node, or none.

        `AdapterError` if it does not fit, or the chip's own threshold is not above 0, in units of which it would
        count; nothing is changed then.
        """
        bank = self._bank(node)
        if head is None or not head.subject_tags:
            bank.set_head(None)
            return
        if (own := float(self.accept_threshold[node])) <= 0:
            raise AdapterError(f"this chip's threshold of acceptance is {own}: a head cannot be weighed with it")
        bank.set_head(head)

    def active_head(self, node: int) -> ClosedFormHead | None:
        """Return a copy of the node's head without dropped columns; None if there is none or none is left."""
        head = self._bank(node).head
        return None if head is None else head.to_message()

    def head_digest(self, node: int) -> bytes:
        """Return the digest of the node's head; `NO_HEAD` if there is none."""
        head = self._bank(node).head
        return NO_HEAD if head is None else head.digest

    def head_statistics(self, node: int, codes: Tensor) -> bytes:
        """Return what captured codes, int32 [samples, features], add to the head; charged to `Phase.TRAIN`.

        `AdapterError` if their products would not stay below 2^53.
        """
        self._bank(node)
        self.ledger.charge(Phase.TRAIN, head_share.share_cost(self._preset, len(codes), self.features), node)
        return head_share.packed_statistics(codes)

    @abstractmethod
    def identify(
        self,
        codes: Tensor,
        phase: Phase = Phase.INFER,
        nodes: Sequence[int] | None = None,
        claimed: str | None = None,
    ) -> Identification:
        """Say which adapter fits codes best, as `NodeEngine.identify`; or how well that of a claimed tag fits."""

    @abstractmethod
    def calibrate(self, node: int) -> None:
        """Calibrate a node on the public samples as its chip reads them by now; charged to `Phase.INFER`.

        Codes that were captured before stay as they are. `EngineError` if that is impossible, or would leave no
        threshold to weigh the active head with: the node then goes on with the calibration that it has.
        """

    @abstractmethod
    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return what the chip made of the public samples: int32 [P, features]; and whose it is, int64 [P]."""

    @abstractmethod
    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        """Run one learning round on several nodes as one batch; a pure function of its input.

        `RoundError` if that is impossible for one of them, or they differ in what `RoundRequest.batch` names; nothing
        is changed then.
        """


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
