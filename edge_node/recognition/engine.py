"""Engine of nodes that recognise: pure compute, no network, no disk.

Everything has a leading node axis; a device is N = 1, a simulated fleet is one batch. Codes are integers and bitwise
equal however nodes and samples are batched; scores are float64 and agree within 1e-9.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    SubjectAdapter,
)
from reram_fleet.wire.shared_lora import lora_shape
from torch import Tensor

from edge_node.engine import Identification, RecognitionEngine
from edge_node.errors import EngineError
from edge_node.recognition.bank import BYTES_PER_FEATURE, AdapterBank
from edge_node.recognition.chips import Chips, PublicSamples
from edge_node.recognition.first_reads import FirstReads, add_saved
from edge_node.recognition.head import BYTES_PER_CODE, HeadAdapter
from edge_node.recognition.lora import costs
from edge_node.recognition.lora.output_layer import nobody_on, read_samples
from edge_node.recognition.lora.stage import Stage
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training import neggrad
from edge_node.recognition.training.logistic import GAIN, Recipe, learnt_logits
from edge_node.recognition.training.rounds import RoundRequest, RoundResult, run_rounds
from edge_node.recognition.whitening import ChipWhitening, Whitened
from edge_node.tasks import RecognitionTask
from hwmodel import Cost, EnergyLedger, LayerSpec, NetworkSpec, Phase, Preset, TrainingFacts, cost
from hwmodel.networks.spec import Density, Lora

__all__ = ["Engine", "Identification", "RoundRequest", "RoundResult"]


#: Chips that are programmed, and nodes that are asked, at once: bounds the memory of a large fleet.
CHUNK = 50
#: Nodes whose whitened people are kept: those asked last.
_PEOPLE_KEPT = 256


class Engine(RecognitionEngine):
    """N nodes as one batch, made by `Engine.build`; `ledger` has the cost of everything done, by node and phase.

    The cells of at most `CHUNK` chips are in memory. Those of others are regenerated when they are to capture.
    """

    def __init__(
        self,
        node_ids: Sequence[str],
        preset: Preset,
        chips: Chips,
        calibration: ScoreCalibration,
        ledger: EnergyLedger,
        first_costs: Sequence[tuple[Cost, Cost]],
        public: PublicSamples,
    ) -> None:
        super().__init__(node_ids, preset, calibration.centre.shape[1], ledger)
        self._chips, self._calibration, self._public = chips, calibration, public
        # Of programming each chip, and of reading the public samples at each start.
        self._first_costs = first_costs
        self._public_reads = tuple(reads for reads in chips.calibrated if bool((reads.reads > 0).all()))
        worn = [reads.wear for reads in self._public_reads]
        self._wear = torch.stack(worn).amax(dim=0) if worn else torch.zeros(len(node_ids), dtype=torch.float64)
        # Whitened means by node, made when needed after a change.
        self._people: OrderedDict[int, Whitened] = OrderedDict()

    @classmethod
    def build(
        cls,
        task: RecognitionTask,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        *,
        saved_costs: Sequence[Mapping[Phase, Cost]] | None = None,
        chunk: int = CHUNK,
        progress: Callable[[int, int], None] | None = None,
        age_s: Callable[[], float] = lambda: 0.0,
    ) -> Self:
        """Program the backbones and calibrate on the task's public samples, some chips after the other.

        `EngineError` if saved costs are not one per node, or calibration is impossible.

        Parameters
        ----------
        task, preset, fleet_seed, node_ids
            What the fleet runs, on which technology, one chip each; the seed fixes reservoir and chips.
        saved_costs
            Cumulative costs of each node from its journal. A node whose saved `Phase.PROGRAM` has cell
            writes is already programmed: its chip is regenerated from the seed without charging again.
            Calibration reads the chip at every start and is charged to `Phase.INFER` each time.
        chunk
            Chips that are programmed at once, and then kept in memory if they are all. Nothing else depends on it.
        progress
            Told the nodes done and in all, after each chunk.
        age_s
            Returns how long ago (s) the chips were programmed; asked whenever they are read.
        """
        if saved_costs is not None and len(saved_costs) != len(node_ids):
            raise EngineError(f"{len(saved_costs)} saved costs for {len(node_ids)} nodes: give one each")
        chunk = max(chunk, 1)
        parts = (slice(start, start + chunk) for start in range(0, len(node_ids), chunk))
        saved = saved_costs or ()
        reads = (FirstReads.of(task, preset, fleet_seed, node_ids[some], age_s, saved[some]) for some in parts)
        return cls.calibrated(reads, task, preset, fleet_seed, node_ids, chunk=chunk, progress=progress, age_s=age_s)

    @classmethod
    def calibrated(
        cls,
        reads: Iterable[FirstReads],
        task: RecognitionTask,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        *,
        chunk: int = CHUNK,
        progress: Callable[[int, int], None] | None = None,
        age_s: Callable[[], float] = lambda: 0.0,
    ) -> Self:
        """Return the engine that `build` makes, of first reads of some chips each, which are let go one by one."""
        ledger, chips = EnergyLedger(len(node_ids)), Chips(task, preset, fleet_seed, node_ids, chunk, age_s)
        first_costs: list[tuple[Cost, Cost]] = []

        def captured() -> Iterator[Tensor]:
            for part in reads:
                chips.take(part.chips, len(first_costs))
                for node, spent in enumerate(part.costs, start=len(first_costs)):
                    ledger.restore(spent, node)
                first_costs.extend(part.first_costs)
                yield part.codes
                # With its cells, before others are programmed.
                del part
                if progress is not None:
                    progress(len(first_costs), len(node_ids))

        public = PublicSamples.of(task)
        calibration = ScoreCalibration.fit_parts(captured(), len(node_ids), public.person)
        chips.note_calibrated()
        return cls(node_ids, preset, chips, calibration, ledger, first_costs, public)

    def restart(self, node: int, saved_costs: Mapping[Phase, Cost]) -> None:
        """Go on with a node as `build` does with a device that was switched off: nothing is in its SRAM.

        Its costs are the saved ones, and what reading the public samples takes at a start; its chip counts its reads
        from there.
        """
        self._bank(node)
        self._banks[node] = AdapterBank(self.features, self._pool)
        self._people.pop(node, None)
        programming, reading = self._first_costs[node]
        self.ledger.restore({Phase.PROGRAM: programming}, node)
        add_saved(self.ledger, saved_costs, node)
        if self._chips.as_calibrated and not self.calibrations[node]:
            self.ledger.charge(Phase.INFER, reading, node)
            self._chips.restart(node)
        else:
            self._chips.rewind(node)
            self._calibrate(node)

    def calibrate(self, node: int) -> None:
        """Calibrate a node on the public samples as its chip reads them by now; charged to `Phase.INFER`."""
        self._bank(node)
        self._calibrate(node)
        self.calibrations[node] += 1

    def _calibrate(self, node: int) -> None:
        codes = self._chips.capture(self._public.samples, [node], self.ledger.of([node]), Phase.INFER)
        fitted = ScoreCalibration.fit(codes, self._public.person)
        if self._banks[node].head is not None and float(fitted.accept_threshold[0]) <= 0:
            raise EngineError("the chip's threshold of acceptance is no longer above 0: its head could not be weighed")
        self._calibration = self._calibration.renewed(node, fitted)
        self._people.pop(node, None)

    @property
    def accept_threshold(self) -> Tensor:
        """Score from which a sample is accepted, float64 [N]; depends on public people only."""
        return self._calibration.accept_threshold

    @property
    def cell_writes(self) -> Tensor:
        """ReRAM pulses given to each chip since it was made, int64 [N]."""
        return self._chips.cell_writes

    @property
    def wear(self) -> Tensor:
        """Share of the endurance used up in each chip's most worn crossbar, float64 [N]."""
        return self._wear

    def network(self, node: int) -> NetworkSpec | None:
        """Return the backbone's crossbars, as a public sample uses them on average, and the shared LoRA.

        The LoRA is on the output layer, which is digital: a row per person on the node, but at least one. Its shape is
        the active one's, or what the fleet will give it. Its training is a round's: all samples in every step, of which
        the public ones are on every node. None if no crossbar was read.
        """
        bank, public = self._bank(node), len(self._calibration.public_person)
        if not self._public_reads:
            return None
        layers = [
            LayerSpec.of_reads(f"{number} {reads.layer}", reads, public, node)
            for number, reads in enumerate(self._public_reads, start=1)
        ]
        shape = bank.lora_shape or lora_shape(self.features, a_seed=0, stage=self._chips.stage)
        stage = Stage.of(shape)
        people = max(1, len(bank.tags))
        output = LayerSpec(
            name="output", inputs=self.features, outputs=people, uses=1, digital=True, lora_rank=stage.width
        )
        return NetworkSpec(
            name="recognition",
            title="crossbars of the backbone, and the output layer",
            source="reads charged for the public samples",
            layers=(*layers, output),
            density=Density(source="spikes of the public samples"),
            lora=Lora(alpha=shape.alpha, source="shared LoRA of the fleet"),
            training=TrainingFacts(
                full_steps=Recipe.of(stage).steps,
                lora_steps=Recipe.of(stage).steps,
                batch=public,
                source="a round of `train.lora`: public samples; all weights are given as many steps",
            ),
        )

    def capture(
        self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER, nodes: Sequence[int] | None = None
    ) -> Tensor:
        """Return feature codes, centred on each chip's public mean, int32 [nodes, len(samples), features].

        `SampleError` if a sample is not finite float32 [frames, channels] of a length that the task takes.
        """
        named = self._named(nodes)
        codes = torch.empty(len(named), len(samples), self.features, dtype=torch.int32)
        done = 0
        for some in self._chips.chunks(named):
            whole = self._chips.capture(samples, some, self.ledger.of(some), phase)
            codes[done : done + len(some)] = whole - self._calibration.centre[list(some), None]
            done += len(some)
        return codes

    def set_subject(self, node: int, adapter: SubjectAdapter) -> None:
        """Make a subject adapter active on a node, replacing one with its tag; `AdapterError` if it does not fit."""
        super().set_subject(node, adapter)
        self._people.pop(node, None)

    def drop_subjects(self, node: int, tags: Collection[str]) -> int:
        """Drop subject adapters, LoRA rows and head columns from SRAM; return how many adapters were dropped."""
        dropped = super().drop_subjects(node, tags)
        self._people.pop(node, None)
        return dropped

    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return what the chip made of the public samples: int32 [P, features]; and whose it is, int64 [P]."""
        self._bank(node)
        codes = self._calibration.public_codes[node].to(torch.int32, copy=True)
        return codes, self._calibration.public_person.clone()

    def identify(
        self,
        codes: Tensor,
        phase: Phase = Phase.INFER,
        nodes: Sequence[int] | None = None,
        claimed: str | None = None,
    ) -> Identification:
        """Compare captured codes, integers [nodes, B, features], with the active adapters of nodes, all if None.

        `phase` is `Phase.VERIFY` for the probes of an erase order. With a `claimed` tag only that person is compared
        with. `EngineError` if the codes have another shape or are not integers.
        """
        named = self._named(nodes)
        self._check_codes(codes, len(named))
        parts = [
            self._identified(codes[start : start + CHUNK], named[start : start + CHUNK], claimed)
            for start in range(0, len(named), CHUNK)
        ]
        for node in named:
            self._charge_identify(node, codes.shape[1], phase, claimed)
        if len(parts) == 1:
            return parts[0]
        return Identification(
            best_tag=tuple(tags for part in parts for tags in part.best_tag),
            score=torch.cat([part.score for part in parts]),
            accepted=torch.cat([part.accepted for part in parts]),
            best_tag_subject_only=tuple(tags for part in parts for tags in part.best_tag_subject_only),
            best_tag_without_head=tuple(tags for part in parts for tags in part.best_tag_without_head),
        )

    def _identified(self, codes: Tensor, nodes: Sequence[int], claimed: str | None) -> Identification:
        tags = [self._banks[node].tags for node in nodes]
        widest = max(1, *(len(row) for row in tags))
        cosine = torch.full((len(nodes), codes.shape[1], widest), -torch.inf, dtype=torch.float64)
        # Who it is; and, with a LoRA, whether it is them.
        score = cosine.expand(1 + any(self._banks[node].lora_shape is not None for node in nodes), -1, -1, -1).clone()
        strength = torch.empty(cosine.shape[:2], dtype=torch.float64)
        for place, node in enumerate(nodes):
            chip = self._calibration.whitening.chip(node, torch.matmul)
            bank, known = self._banks[node], slice(len(tags[place]))
            samples = chip.of(codes[place])
            strength[place] = self._calibration.strength(node, samples)
            cosine[place, :, known] = chip.cosine(samples, self._whitened_people(node, chip))
            if claimed is not None:
                cosine[place, :, [k for k, tag in enumerate(tags[place]) if tag != claimed]] = -torch.inf
            score[:, place] = cosine[place]
            if (shape := bank.lora_shape) is not None:
                reads, quiet = read_samples(shape, chip, samples), nobody_on(shape, chip)
                parts = torch.tensor([1.0, Recipe.of(reads.stage).accepting], dtype=torch.float64)[:, None, None]
                for who, factors in bank.lora_parts():
                    score[:, place][:, :, who] += learnt_logits(reads, quiet, factors)[0].double() / GAIN * parts
        fused = score.clone()
        threshold = self._calibration.accept_threshold[list(nodes)]
        for head, members in self._head_groups(nodes):
            width = len(tags[members[0]])
            fused[:, members, :, :width] = head.fused(
                score[:, members, :, :width], threshold[members], tags[members[0]], codes[members], strength[members]
            )
        best = fused[0].argmax(dim=2, keepdim=True)
        reached = fused[-1].gather(2, best)[..., 0]
        return Identification(
            best_tag=_tags_at(tags, best[..., 0]),
            score=reached,
            accepted=reached >= threshold[:, None],
            best_tag_subject_only=_tags_at(tags, cosine.argmax(dim=2)),
            best_tag_without_head=_tags_at(tags, score[0].argmax(dim=2)),
        )

    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        """Run one learning round on several nodes as one batch; a pure function of its input.

        Training and repair are charged to `Phase.TRAIN`, evaluation to `Phase.VERIFY`. `RoundError` or `AdapterError`
        if a request is malformed; nothing is changed.
        """
        for request in requests:
            self._bank(request.node)
        results = self._computed(requests)
        for request, result in zip(requests, results, strict=True):
            hidden = sum(len(codes) for codes in request.forget.values())
            self._charge_round(request, result.num_examples + hidden)
        return results

    def _computed(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        return run_rounds(self._calibration, self._banks, requests)

    def _whitened_people(self, node: int, chip: ChipWhitening) -> Whitened:
        people = self._people.pop(node, None)
        if people is None:
            sums, _ = self._banks[node].sums()
            people = chip.of(sums)
        self._people[node] = people
        if len(self._people) > _PEOPLE_KEPT:
            self._people.popitem(last=False)
        return people

    def _head_groups(self, nodes: Sequence[int]) -> list[tuple[HeadAdapter, list[int]]]:
        """Return places among nodes with the same head and people: in a fleet nearly always one group."""
        groups: dict[tuple[bytes, tuple[str, ...]], tuple[HeadAdapter, list[int]]] = {}
        for place, node in enumerate(nodes):
            bank = self._banks[node]
            if bank.head is not None and bank.tags:
                groups.setdefault((bank.head.digest, bank.tags), (bank.head, []))[1].append(place)
        return list(groups.values())

    def _charge_identify(self, node: int, samples: int, phase: Phase, claimed: str | None) -> None:
        bank, whitening = self._banks[node], self._calibration.whitening.macs_per_vector
        rows = len(bank.tags) if claimed is None else 1
        macs = samples * (whitening + rows * self.features)
        spent = cost.digital_macs(self._preset, macs, cost.Precision.FP32)
        spent += cost.sram_read(self._preset, rows * self.features * BYTES_PER_FEATURE)
        if (shape := bank.lora_shape) is not None:
            spent += costs.use(self._preset, shape, rows, samples)
        if (head := bank.head) is not None:
            columns = len(head.tags) if claimed is None else int(claimed in head.tags)
            spent += cost.digital_macs(self._preset, samples * columns * self.features, cost.Precision.FP32)
            spent += cost.sram_read(self._preset, columns * self.features * BYTES_PER_CODE)
        self.ledger.charge(phase, spent, node)

    def _charge_round(self, request: RoundRequest, samples: int) -> None:
        ticket, stage = request.ticket, Stage.of(request.ticket.lora)
        steps = {LEARNING_KIND_TRAIN_LORA: Recipe.of(stage).steps, LEARNING_KIND_UNLEARN_LORA: neggrad.STEPS}
        rows = len(ticket.subject_tags)
        macs = samples * (self._calibration.whitening.macs_per_vector + rows * self.features)
        spent = cost.digital_macs(self._preset, macs, cost.Precision.FP32)
        spent += costs.use(self._preset, ticket.lora, rows, samples)
        spent += costs.training_step(self._preset, stage, rows, samples) * steps.get(ticket.kind, 0)
        self.ledger.charge(Phase.TRAIN if ticket.kind in steps else Phase.VERIFY, spent, request.node)


def _tags_at(tags: Sequence[Sequence[str]], indices: Tensor) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(names[i] if names else "" for i in row) for names, row in zip(tags, indices.tolist(), strict=True)
    )
