"""A batch of N nodes against N single nodes: how much of what they compute differs.

For each task's backbone and each level of detail the chips of all nodes are programmed once as a batch and once one by
one, and shown the same inputs. Then what is computed behind them: answers of subject adapters and of a head, and a
round of learning and of repair, of rows alone and of a stage with its branch. Inputs are made up, but for the voices of
JapaneseVowels: whose photo it is does not matter to whether two computers agree.

Integers are compared one by one; what is computed in floats, by its largest difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, LEARNING_KIND_UNLEARN_LORA, JobTicket, LoraShape
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import SCALE_BITS, lora_shape
from torch import Tensor

from edge_node.backbones import Backbone
from edge_node.backbones.filters import FilterBank
from edge_node.backbones.liquid import Liquid
from edge_node.backbones.small_layer import SmallLayer
from edge_node.backbones.spectral import SpectralFilters
from edge_node.generation.diffusion import Sampling, keyed_noise, on_chips, sample
from edge_node.generation.dit import IMAGE_SHAPE, STYLES, DiffusionTransformer, prompts_of
from edge_node.recognition.engine import Engine, RoundRequest, RoundResult
from edge_node.tasks import RecognitionTask
from edge_node.tasks.faces import FACES_64
from edge_node.tasks.speakers import SPEAKERS
from edge_node.tasks.speakers_small import SPEAKERS_8
from fleet.lab.fleets.captured_fleet import PRESET, CapturedFleet
from hwmodel import Crossbar, EnergyLedger, Fidelity, Phase, Preset, keyed_normal, keyed_uint16, load_preset, program
from tests.bench.workloads.face_fleet import NODES
from tests.bench.workloads.faces import install

SEEDS = (300, 301, 302)
SAMPLES = 6
#: Largest difference of numbers, as a share of the largest of them, where float arithmetic is in between.
FLOAT64_TOLERANCE = 1e-9
#: Colour levels (of 255) that a pixel may differ by: a code on a rounding boundary may flip.
COLOUR_TOLERANCE = 16
_GENERATION = Sampling(steps=4)
_IMAGES = 4


@dataclass(frozen=True)
class Compared:
    """One thing that nodes compute, at a level of detail of the chips."""

    what: str
    fidelity: str
    #: Whether it is integers all the way, so that nothing may differ.
    exact: bool
    #: How many numbers are not the same bits.
    differing: int
    #: Largest difference as a share of the largest number (of colour levels, in levels), and what it may be.
    largest: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether integers are the same, and floats within their tolerance."""
        return self.differing == 0 if self.exact else self.largest <= self.tolerance


def run(seed: int, nodes: int = NODES) -> tuple[Compared, ...]:
    """Compare everything on the chips of one seed."""
    ids = [f"n{node}" for node in range(nodes)]
    return (*_backbones(seed, ids), *_transformer(seed, ids), *_behind(seed, nodes))


def compared(
    what: str,
    fidelity: Fidelity,
    together: Tensor,
    alone: Tensor,
    *,
    tolerance: float | None = None,
    unit: float | None = None,
) -> Compared:
    """Compare results ``[N, ...]`` of the batch and of single nodes side by side.

    Without a tolerance they must be the same bits; the largest difference is measured in units, the largest magnitude
    if None.
    """
    assert together.shape == alone.shape
    largest = float(together.double().abs().max())
    off = float((together.double() - alone.double()).abs().max())
    return Compared(
        what,
        fidelity.value,
        tolerance is None,
        int((together != alone).sum()),
        off / (unit if unit is not None else max(largest, 1e-300)),
        tolerance if tolerance is not None else 0.0,
    )


class LevelCrossbar:
    """A layer of a backbone at another level of detail, answering in the codes that the backbone expects.

    Its own codes (finer if bit-serial, floats if ideal) are brought to the scale of the tile-accurate layer and
    rounded, number by number.
    """

    def __init__(self, crossbar: Crossbar, fidelity: Fidelity) -> None:
        self._tiles, self._level = crossbar, crossbar.at_fidelity(fidelity)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tiles, name)

    def mvm(self, codes: Tensor, **options: Any) -> Tensor:
        """Multiply as `Crossbar.mvm`, int32 ``[N, B, out]``."""
        if self._level.fidelity is Fidelity.TILE_ACCURATE:
            return self._tiles.mvm(codes, **options)
        return self._rescaled(self._level.mvm(codes, **options))

    def mvm_blocks(self, codes: Tensor, **options: Any) -> Iterator[tuple[slice, slice, Tensor]]:
        """Multiply as `Crossbar.mvm_blocks`."""
        if self._level.fidelity is Fidelity.TILE_ACCURATE:
            yield from self._tiles.mvm_blocks(codes, **options)
            return
        for nodes, vectors, products in self._level.mvm_blocks(codes, **options):
            yield nodes, vectors, self._rescaled(products)

    def _rescaled(self, products: Tensor) -> Tensor:
        return (products.double() * (self._level.scale / self._tiles.scale)).round().to(torch.int32)


def at_level(backbone: Any, fidelity: Fidelity) -> Any:
    """Return a backbone whose layers follow the hardware as closely as this."""
    layers = {f.name: getattr(backbone, f.name) for f in fields(backbone)}
    crossbars = {name: layer for name, layer in layers.items() if isinstance(layer, Crossbar)}
    return replace(backbone, **{name: LevelCrossbar(layer, fidelity) for name, layer in crossbars.items()})


def _backbones(seed: int, ids: Sequence[str]) -> Iterator[Compared]:
    """Compare what each backbone makes of samples, at every level."""
    preset = load_preset(PRESET)
    photos = keyed_uint16(seed, "batch.photos", count=SAMPLES * 64 * 64).reshape(SAMPLES, 64, 64).numpy() / 65535
    sounds = keyed_normal(seed, "batch.sounds", count=SAMPLES * 4_000).reshape(SAMPLES, 4_000, 1).numpy() / 8
    voices = [person.test[0] for person in SPEAKERS.load_people().values()][:SAMPLES]

    def small_layer(preset: Preset, seed: int, some: Sequence[str], ledger: EnergyLedger) -> SmallLayer:
        front = FilterBank.program(preset, seed, some, ledger, layout=FACES_64.layout)
        centre = torch.zeros(front.features, dtype=torch.int32)
        return SmallLayer.program(front, FACES_64.stage, centre, preset, seed, some, ledger)

    kinds: list[tuple[str, Callable[..., Backbone], list[np.ndarray]]] = [
        ("reservoir", SPEAKERS.program, voices),
        ("filters", FilterBank.program, list(photos.astype(np.float32))),
        ("layer of 64 columns", small_layer, list(photos.astype(np.float32))),
        ("spectral filters", SpectralFilters.program, list(sounds.astype(np.float32))),
        ("liquid", Liquid.program, list(sounds.astype(np.float32))),
    ]
    for name, build, samples in kinds:

        def captured(some: Sequence[str], build: Any = build, samples: Any = samples) -> list[Tensor]:
            ledger = EnergyLedger(len(some))
            chips = build(preset, seed, some, ledger)
            return [at_level(chips, level).capture(samples, ledger, Phase.INFER) for level in Fidelity]

        together, alone = captured(ids), [captured([node]) for node in ids]
        yield from _by_level(f"codes of the {name}", together, alone)


def _by_level(what: str, together: Sequence[Tensor], alone: Sequence[Sequence[Tensor]]) -> Iterator[Compared]:
    for number, level in enumerate(Fidelity):
        # Ideal products are floats, rounded to codes afterwards: one on a boundary may flip.
        one_code = {"tolerance": 1.0, "unit": 1.0} if level is Fidelity.IDEAL else {}
        yield compared(what, level, together[number], torch.cat([one[number] for one in alone]), **one_code)


def _transformer(seed: int, ids: Sequence[str]) -> Iterator[Compared]:
    """Compare each layer's integers, and images generated with float arithmetic between the layers."""
    preset, model = load_preset(PRESET), DiffusionTransformer()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            # As trained ones spread; this one generates noise, which is as good to compare.
            drawn = keyed_normal(seed, "batch.transformer", number, count=parameter.numel())
            parameter.copy_(drawn.reshape(parameter.shape) / max(1, parameter.shape[-1]) ** 0.5)
    noise = keyed_noise(seed, "batch.noise", count=len(ids) * _IMAGES).reshape(len(ids), _IMAGES, *IMAGE_SHAPE)
    labels = torch.arange(_IMAGES).expand(len(ids), -1)
    asked = prompts_of(labels, labels % STYLES)
    for level in Fidelity:

        def chips_of(some: Sequence[str], level: Fidelity = level) -> Any:
            return program(model.eval(), preset, seed, nodes=some, fidelity=level)

        together, alone = chips_of(ids), [chips_of([node]) for node in ids]
        products = [_products(together, seed), torch.cat([_products(one, seed) for one in alone])]
        tolerance = FLOAT64_TOLERANCE if level is Fidelity.IDEAL else None
        yield compared("products of the transformer's layers", level, *products, tolerance=tolerance)
        with torch.no_grad():
            images = sample(on_chips(together), noise, asked, _GENERATION)
            own = [sample(on_chips(one), noise[[n]], asked[[n]], _GENERATION) for n, one in enumerate(alone)]
        name = "colour levels that the transformer generates"
        yield compared(name, level, images, torch.cat(own), tolerance=COLOUR_TOLERANCE, unit=1.0)


def _products(chips: Any, seed: int) -> Tensor:
    """Return what every layer's crossbar makes of the same codes, ``[N, ...]``."""
    found = []
    for name, layer in sorted(chips.analog.items()):
        crossbar = layer.crossbar
        codes = keyed_uint16(seed, "batch.products", name, count=2 * crossbar.in_features) % 255 - 127
        asked = codes.reshape(1, 2, -1).expand(len(crossbar.nodes), -1, -1).to(torch.int32)
        # Read noise goes by the number of the read: the images after it must start at the same one.
        reads = crossbar.reads.clone()
        found.append(crossbar.mvm(asked).flatten(1))
        crossbar.reads = reads
    return torch.cat(found, dim=1)


def _behind(seed: int, nodes: int) -> Iterator[Compared]:
    """Compare what follows the chips, tile-accurate: engine, head and rounds, with voices."""
    level, fleet = Fidelity.TILE_ACCURATE, CapturedFleet.of(SPEAKERS, seed, nodes)
    together, singles = fleet.engine, _singles(fleet, SPEAKERS, seed)
    people = SPEAKERS.load_people()
    samples = [sample for name in fleet.enrolled for sample in people[name].test]
    asked = fleet.asked[0]
    own = torch.cat([one.capture(samples) for one in singles])
    yield compared("captured codes of engines", level, asked, own)
    said = [one.identify(asked[[n]]) for n, one in enumerate(singles)]
    scores = torch.cat([answer.score for answer in said])
    answer = together.identify(asked)
    yield compared("scores of subject adapters", level, answer.score, scores, tolerance=FLOAT64_TOLERANCE)
    names = [tag for row in answer.best_tag for tag in row], [tag for one in said for tag in one.best_tag[0]]
    best, theirs = (torch.tensor([fleet.enrolled.index(tag) for tag in found]) for found in names)
    yield compared("names by subject adapters", level, best, theirs)
    head = install(fleet.statistics().build(), fleet)
    alone = torch.cat([head.scores(asked[[n]]) for n in range(nodes)])
    yield compared("scores of the head", level, head.scores(asked), alone)
    rows_alone = LoraShape(features=together.features, rank=8, alpha=8.0, a_seed=1, scale_bits=SCALE_BITS)
    yield from _rounds("LoRA", fleet, singles, rows_alone)
    task = SPEAKERS_8.with_seed(seed)
    small = CapturedFleet.of(task, seed, nodes)
    shape = lora_shape(small.engine.features, 1, task.stage)
    yield from _rounds("LoRA of a stage", small, _singles(small, task, seed), shape)


def _singles(fleet: CapturedFleet, task: RecognitionTask, seed: int) -> list[Engine]:
    """Return an engine for each node of a fleet; everybody's adapters are active on all of them."""
    singles = [Engine.build(task, load_preset(PRESET), seed, [node]) for node in fleet.engine.node_ids]
    for node, one in enumerate(singles):
        for adapter in fleet.subject_adapters():
            fleet.engine.set_subject(node, adapter)
            one.set_subject(0, adapter)
    return singles


def _rounds(what: str, fleet: CapturedFleet, singles: Sequence[Engine], shape: LoraShape) -> Iterator[Compared]:
    """Compare a round of `Engine.run_rounds` of either kind."""
    tags = list(fleet.enrolled)
    # Values so large that the forgotten stand out: on a LoRA of nothing a repair would have nothing to do.
    empty = StateArrays.empty(tags, shape)
    drawn = {name: _drawn(name, getattr(empty, name).shape) for name in ("rows", "branches")}
    start = replace(empty, **drawn).encode()
    for kind, name in ((LEARNING_KIND_TRAIN_LORA, "training"), (LEARNING_KIND_UNLEARN_LORA, "repair")):
        forget = fleet.enrolled[:1] if kind == LEARNING_KIND_UNLEARN_LORA else ()
        ticket = JobTicket(job_id="j", round=1, kind=kind, subject_tags=tags, forget_tags=forget, lora=shape)
        requests = []
        for node in range(len(singles)):
            mine = {tag: fleet.captured(tag)[node].to(torch.int32) for tag in tags if node in fleet.places[tag]}
            kept = {tag: codes for tag, codes in mine.items() if tag not in forget}
            gone = {tag: codes for tag, codes in mine.items() if tag in forget}
            requests.append(RoundRequest(node, ticket, start, kept, gone))
        batch = fleet.engine.run_rounds(requests)
        alone = [one.run_rounds([replace(r, node=0)])[0] for one, r in zip(singles, requests, strict=True)]
        states = (torch.stack([_learnt(result) for result in results]) for results in (batch, alone))
        yield compared(f"{what} after a round of {name}", Fidelity.TILE_ACCURATE, *states)


def _drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = keyed_normal(1, "batch.lora", name, count=math.prod(shape)).reshape(shape)
    return (values.clamp(-1.9, 1.9) * 2.0**SCALE_BITS).round().numpy().astype(np.int16)


def _learnt(result: RoundResult) -> Tensor:
    """Return rows and branches of what a node sends back, as one row of integers."""
    state = StateArrays.decode(result.state)
    return torch.from_numpy(np.concatenate([state.rows.ravel(), state.branches.ravel()]))
