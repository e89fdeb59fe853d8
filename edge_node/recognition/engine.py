"""Engine of nodes that recognise: pure compute, no network, no disk.

Everything has a leading node axis; a device is N = 1, a simulated fleet is one batch. Codes are integers and bitwise
equal however nodes and samples are batched; scores are float64 and agree within 1e-9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    LoraShape,
    SubjectAdapter,
)
from reram_fleet.wire.shared_lora import lora_shape
from torch import Tensor

from edge_node.backbones import Backbone
from edge_node.engine import Identification, RecognitionEngine
from edge_node.errors import EngineError
from edge_node.recognition.bank import BYTES_PER_FEATURE
from edge_node.recognition.head import HeadAdapter
from edge_node.recognition.lora.output_layer import project
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training import logistic, neggrad
from edge_node.recognition.training.logistic import GAIN
from edge_node.recognition.training.rounds import RoundRequest, RoundResult, run_rounds
from edge_node.tasks import RecognitionTask
from hwmodel import Cost, Crossbar, EnergyLedger, LayerSpec, NetworkSpec, Phase, Preset, TrainingFacts, cost
from hwmodel.networks.spec import Density, Lora

__all__ = ["Engine", "Identification", "RoundRequest", "RoundResult"]


class Engine(RecognitionEngine):
    """N nodes as one batch, made by `Engine.build`; `ledger` has the cost of everything done, by node and phase."""

    def __init__(
        self,
        node_ids: tuple[str, ...],
        preset: Preset,
        backbone: Backbone,
        calibration: ScoreCalibration,
        ledger: EnergyLedger,
        crossbars: Sequence[Crossbar],
    ) -> None:
        super().__init__(node_ids, preset, backbone.features, ledger)
        self._backbone, self._calibration = backbone, calibration
        self._crossbars, public = tuple(crossbars), calibration.public_codes.shape[1]
        # What they have read until now is the public samples.
        self._layers = [
            tuple(
                LayerSpec.of_reads(f"{number} {crossbar.layer}", crossbar, public, node)
                for number, crossbar in enumerate(self._crossbars, start=1)
            )
            for node in range(len(node_ids))
        ]
        # Whitened unit means by node, made when first needed after a change.
        self._rows: list[Tensor | None] = [None] * len(node_ids)

    @classmethod
    def build(
        cls,
        task: RecognitionTask,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        *,
        saved_costs: Sequence[Mapping[Phase, Cost]] | None = None,
    ) -> Engine:
        """Program the backbones and calibrate on the task's public samples.

        `EngineError` if saved costs are not one per node, or calibration is impossible.

        Parameters
        ----------
        task, preset, fleet_seed, node_ids
            What the fleet runs, on which technology, one chip each; the seed fixes reservoir and chips.
        saved_costs
            Cumulative costs of each node from its journal. A node whose saved `Phase.PROGRAM` has cell
            writes is already programmed: its chip is regenerated from the seed without charging again.
            Calibration reads the chip at every start and is charged to `Phase.INFER` each time.
        """
        ledger = EnergyLedger(len(node_ids))
        backbone = task.program(preset, fleet_seed, node_ids, ledger)
        if saved_costs is not None:
            if len(saved_costs) != len(node_ids):
                raise EngineError(f"{len(saved_costs)} saved costs for {len(node_ids)} nodes: give one each")
            for node, saved in enumerate(saved_costs):
                if saved.get(Phase.PROGRAM, Cost()).cell_writes:
                    ledger.restore(saved, node)
                else:
                    for phase, spent in saved.items():
                        ledger.charge(phase, spent, node)
        samples: list[np.ndarray] = []
        person: list[int] = []
        for index, name in enumerate(sorted(public := task.public_samples())):
            samples += public[name]
            person += [index] * len(public[name])
        codes = backbone.capture(samples, ledger, Phase.INFER)
        calibration = ScoreCalibration.fit(codes, torch.tensor(person))
        # A plug-in's backbone says nothing of its crossbars; it is charged for what they read.
        crossbars = [part for part in ledger.parts if isinstance(part, Crossbar) and bool((part.reads > 0).all())]
        return cls(tuple(node_ids), preset, backbone, calibration, ledger, crossbars)

    @property
    def accept_threshold(self) -> Tensor:
        """Score from which a sample is accepted, float64 [N]; depends on public people only."""
        return self._calibration.accept_threshold.clone()

    @property
    def cell_writes(self) -> Tensor:
        """ReRAM pulses given to each chip since it was made, int64 [N]."""
        return self._backbone.cell_writes.clone()

    @property
    def wear(self) -> Tensor:
        """Share of the endurance used up in each chip's most worn crossbar, float64 [N]."""
        worn = [crossbar.wear for crossbar in self._crossbars]
        return torch.stack(worn).amax(dim=0) if worn else torch.zeros(len(self.node_ids), dtype=torch.float64)

    def network(self, node: int) -> NetworkSpec | None:
        """Return the backbone's crossbars, as a public sample uses them on average, and the shared LoRA.

        The LoRA is on the output layer, which is digital: a row per person on the node, but at least one. Its shape is
        the active one's, or what the fleet will give it. Its training is a round's: all samples in every step, of which
        the public ones are on every node. None if no crossbar was read.
        """
        bank, layers = self._bank(node), self._layers[node]
        if not layers:
            return None
        shape = bank.lora_shape or lora_shape(self.features, a_seed=0)
        people = max(1, len(bank.tags))
        output = LayerSpec(
            name="output", inputs=self.features, outputs=people, uses=1, digital=True, lora_rank=shape.rank
        )
        return NetworkSpec(
            name="recognition",
            title="crossbars of the backbone, and the output layer",
            source="reads charged for the public samples",
            layers=(*layers, output),
            density=Density(source="spikes of the public samples"),
            lora=Lora(alpha=shape.alpha, source="shared LoRA of the fleet"),
            training=TrainingFacts(
                full_steps=logistic.STEPS,
                lora_steps=logistic.STEPS,
                batch=self._calibration.public_codes.shape[1],
                source="a round of `train.lora`: public samples; all weights are given as many steps",
            ),
        )

    def capture(self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER) -> Tensor:
        """Return feature codes, centred on each chip's public mean, int32 [N, len(samples), features].

        `SampleError` if a sample is not finite float32 [frames, channels] of a length that the task takes.
        """
        codes = self._backbone.capture(samples, self.ledger, phase)
        return codes - self._calibration.centre[:, None]

    def set_subject(self, node: int, adapter: SubjectAdapter) -> None:
        """Make a subject adapter active on a node, replacing one with its tag; `AdapterError` if it does not fit."""
        super().set_subject(node, adapter)
        self._rows[node] = None

    def drop_subjects(self, node: int, tags: Collection[str]) -> int:
        """Drop subject adapters, LoRA rows and head columns from SRAM; return how many adapters were dropped."""
        dropped = super().drop_subjects(node, tags)
        self._rows[node] = None
        return dropped

    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return what the chip made of the public samples: int32 [P, features]; and whose it is, int64 [P]."""
        self._bank(node)
        return self._calibration.public_codes[node].clone(), self._calibration.public_person.clone()

    def identify(self, codes: Tensor, phase: Phase = Phase.INFER) -> Identification:
        """Compare captured codes, integers [N, B, features], with each node's active adapters.

        `phase` is `Phase.VERIFY` for the probes of an erase order. `EngineError` if the codes have another shape or are
        not integers.
        """
        self._check_codes(codes)
        nodes = len(self.node_ids)
        tags = [bank.tags for bank in self._banks]
        unit = self._calibration.whitening.unit(codes)
        widest = max(1, *(len(row) for row in tags))
        rows = torch.zeros(nodes, widest, self.features, dtype=torch.float64)
        absent = torch.ones(nodes, 1, widest, dtype=torch.bool)
        for node in range(nodes):
            rows[node, : len(tags[node])] = self._unit_rows(node)
            absent[node, 0, : len(tags[node])] = False
        cosine = (unit @ rows.mT).masked_fill(absent, -torch.inf)
        score = cosine.clone()
        for shape, members in self._lora_groups():
            b = torch.zeros(len(members), widest, shape.rank, dtype=torch.float64)
            for i, node in enumerate(members):
                b[i, : len(tags[node])] = self._banks[node].lora_rows()
            score[members] += project(shape, unit[members]) @ b.mT / GAIN
        fused = score.clone()
        threshold = self._calibration.accept_threshold
        for head, members in self._head_groups():
            width = len(tags[members[0]])
            fused[members, :, :width] = head.fused(
                score[members, :, :width], threshold[members], tags[members[0]], codes[members]
            )
        best = fused.max(dim=2)
        self._charge_identify(codes.shape[1], phase)
        return Identification(
            best_tag=_named(tags, best.indices),
            score=best.values,
            accepted=best.values >= threshold[:, None],
            best_tag_subject_only=_named(tags, cosine.argmax(dim=2)),
            best_tag_without_head=_named(tags, score.argmax(dim=2)),
        )

    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        """Run one learning round on several nodes as one batch; a pure function of its input.

        Training and repair are charged to `Phase.TRAIN`, evaluation to `Phase.VERIFY`. `RoundError` or `AdapterError`
        if a request is malformed; nothing is changed.
        """
        for request in requests:
            self._bank(request.node)
        results = run_rounds(self._calibration, self._banks, requests)
        for request, result in zip(requests, results, strict=True):
            hidden = sum(len(codes) for codes in request.forget.values())
            self._charge_round(request, result.num_examples + hidden)
        return results

    def _unit_rows(self, node: int) -> Tensor:
        rows = self._rows[node]
        if rows is None:
            sums, _ = self._banks[node].sums()
            rows = self._calibration.whitening.unit(sums[None], [node])[0]
            self._rows[node] = rows
        return rows

    def _lora_groups(self) -> list[tuple[LoraShape, list[int]]]:
        """Return nodes by the shape of their LoRA: in a fleet nearly always one group."""
        groups: dict[bytes, tuple[LoraShape, list[int]]] = {}
        for node, bank in enumerate(self._banks):
            lora = bank.lora()
            if lora is not None:
                key = lora.shape.SerializeToString(deterministic=True)
                groups.setdefault(key, (lora.shape, []))[1].append(node)
        return list(groups.values())

    def _head_groups(self) -> list[tuple[HeadAdapter, list[int]]]:
        """Return nodes with the same head and the same people: in a fleet nearly always one group."""
        groups: dict[tuple[bytes, tuple[str, ...]], tuple[HeadAdapter, list[int]]] = {}
        for node, bank in enumerate(self._banks):
            if bank.head is not None and bank.tags:
                groups.setdefault((bank.head.digest, bank.tags), (bank.head, []))[1].append(node)
        return list(groups.values())

    def _charge_identify(self, samples: int, phase: Phase) -> None:
        whitening = self._calibration.whitening.macs_per_vector
        for node, bank in enumerate(self._banks):
            rows = len(bank.tags)
            macs = samples * (whitening + rows * self.features)
            spent = cost.digital_macs(self._preset, macs, cost.Precision.FP32)
            spent += cost.sram_read(self._preset, rows * self.features * BYTES_PER_FEATURE)
            if (lora := bank.lora()) is not None:
                spent += cost.lora_forward(
                    self._preset, inputs=self.features, outputs=rows, rank=lora.shape.rank, samples=samples
                )
            if bank.head is not None:
                spent += cost.digital_macs(self._preset, bank.head.macs(samples), cost.Precision.FP32)
                spent += cost.sram_read(self._preset, bank.head.sram_bytes)
            self.ledger.charge(phase, spent, node)

    def _charge_round(self, request: RoundRequest, samples: int) -> None:
        ticket, preset = request.ticket, self._preset
        steps = {LEARNING_KIND_TRAIN_LORA: logistic.STEPS, LEARNING_KIND_UNLEARN_LORA: neggrad.STEPS}
        rows, rank = len(ticket.subject_tags), ticket.lora.rank
        macs = samples * (self._calibration.whitening.macs_per_vector + rows * self.features)
        spent = cost.digital_macs(preset, macs, cost.Precision.FP32)
        spent += cost.lora_forward(preset, inputs=self.features, outputs=rows, rank=rank, samples=samples)
        # A is frozen and A z is computed once, above: a step sees only the rank numbers of each sample.
        step = cost.lora_training_step(
            preset,
            inputs=0,
            outputs=rows,
            rank=rank,
            samples=samples,
            train_a=False,
            accesses_per_parameter=cost.ADAM_ACCESSES,
        )
        spent += step * steps.get(ticket.kind, 0)
        self.ledger.charge(Phase.TRAIN if ticket.kind in steps else Phase.VERIFY, spent, request.node)


def _named(tags: Sequence[Sequence[str]], indices: Tensor) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(names[i] if names else "" for i in row) for names, row in zip(tags, indices.tolist(), strict=True)
    )
