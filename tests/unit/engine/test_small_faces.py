"""Faces on chips whose last layer has 64 columns: what is captured of a photo, and who is accepted with a LoRA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reram_fleet.code_ranges import FACES_64, LoraStage
from reram_fleet.v1.types_pb2 import LoraBranch, LoraRow, SharedLora, SubjectAdapter
from reram_fleet.wire.shared_lora import SCALE_BITS, lora_shape

from edge_node.backbones.random_signs import keyed_signs
from edge_node.backbones.small_layer import SmallLayer
from edge_node.errors import EngineError
from edge_node.recognition.engine import Engine
from edge_node.recognition.lora.output_layer import nobody, read_samples
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import GAIN, learnt_logits
from edge_node.tasks import faces
from edge_node.tasks.faces import FacesTask, SmallFacesTask
from hwmodel import EnergyLedger, Phase, keyed_normal, keyed_uint16
from tests.made_up_photos import made_up_photos

NODES = ("north", "south")
STAGE = LoraStage(rank=3, neurons=5)


class Front:
    """Backbone whose codes are the samples themselves."""

    features = 7
    cell_writes = torch.tensor([10, 20])

    def capture(self, samples, ledger, phase):
        return torch.from_numpy(np.stack(samples)).to(torch.int32).expand(len(NODES), -1, -1)


@pytest.fixture(scope="module")
def layer(preset):
    centre = torch.arange(7, dtype=torch.int32)
    ledger = EnergyLedger(len(NODES))
    return SmallLayer.program(Front(), STAGE, centre, preset, 1, NODES, ledger), ledger


# ----------------------------------------------------------------------------------------------- the layer


def test_codes_are_sums_with_signs_and_then_what_the_columns_give(layer):
    small, ledger = layer
    samples = [np.array([200, 3, -300, 40, 5, 6, -70]), np.arange(7)]

    codes = small.capture(samples, ledger, Phase.INFER)

    x = (torch.from_numpy(np.stack(samples)) - torch.arange(7)).clamp(-127, 127)
    signs = keyed_signs(3, 7, 1, "lora.a", 3, 7)
    assert codes.dtype is torch.int32
    assert codes.shape == (2, 2, small.features) == (2, 2, STAGE.features)
    assert torch.equal(codes[0, :, :3], (x.double() @ signs.double().T / 64).round().int())
    assert torch.equal(codes[0, :, :3], codes[1, :, :3])
    assert torch.equal(codes[..., 3:], small.layer.mvm(x.int().expand(2, -1, -1)).int())
    assert not codes[:, 1].any()


def test_programming_and_reading_are_paid_for(layer):
    small, ledger = layer
    before = ledger.totals(0)

    small.capture([np.arange(7)], ledger, Phase.VERIFY)

    assert before[Phase.PROGRAM].cell_writes == int(small.layer.cell_writes[0]) > 0
    assert torch.equal(small.cell_writes, small.layer.cell_writes + torch.tensor([10, 20]))
    assert ledger.totals(0)[Phase.VERIFY].energy_j > 0


def test_stage_of_several_segments_is_refused(preset):
    with pytest.raises(EngineError, match="one segment"):
        SmallLayer.program(Front(), LoraStage(3, 5, segments=2), torch.zeros(7), preset, 1, NODES, EnergyLedger(2))


# ------------------------------------------------------------------------------------------------ the task


@pytest.fixture(scope="module")
def engine(preset):
    photos = made_up_photos()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "_photos", lambda folder: photos)
        task = SmallFacesTask.of(1)
        engine, people = Engine.build(task, preset, 3, NODES), task.load_people()
        for name in task.split.enrolled[:4]:
            codes = engine.capture(people[name].train)
            assert int(codes.abs().max()) <= FACES_64.code_max
            for node in range(2):
                adapter = SubjectAdapter(subject_tag=name, count=5, code_sum=codes[node].long().sum(dim=0).tolist())
                engine.set_subject(node, adapter)
        yield engine, engine.capture([*people[task.split.enrolled[0]].test, *people[task.split.strangers[0]].test])


def test_people_and_roles_are_those_of_the_faces():
    small, large = SmallFacesTask.of(5), FacesTask.of(5)

    assert small.split == large.split
    assert (small.name, small.stage) == ("faces-64", LoraStage(rank=32, neurons=64))


def test_lora_names_people_and_a_quarter_of_it_accepts_them(engine):
    device, codes = engine
    tags, shape = device.active_tags(0), lora_shape(FACES_64.features, 1, FACES_64.stage)
    alone = device.identify(codes)
    rows = (keyed_uint16(1, "test.rows", count=len(tags) * 96).long() % 2001 - 1000).reshape(len(tags), 96)
    b = (keyed_normal(1, "test.b", count=64 * 32) * 2000).round().long().reshape(64, 32)

    device.set_lora(
        0,
        SharedLora(
            shape=shape,
            rows=[LoraRow(subject_tag=tag, codes=row.tolist()) for tag, row in zip(tags, rows, strict=True)],
            branches=[LoraBranch(codes=b.flatten().tolist())],
        ),
    )
    found = device.identify(codes)
    device.set_lora(0, None)

    chip = device._calibration.whitening.chip(0)
    samples, public = chip.of(codes[0]), read_samples(shape, chip, chip.public)
    factors = Factors(b[None] * 2.0**-SCALE_BITS, rows[None] * 2.0**-SCALE_BITS)
    learnt = learnt_logits(read_samples(shape, chip, samples), nobody(public), factors)[0].double() / GAIN
    cosine = chip.cosine(samples, device._whitened_people(0, chip))
    best = (cosine + learnt).argmax(dim=1, keepdim=True)
    assert found.best_tag[0] == tuple(tags[k] for k in best[:, 0].tolist())
    assert found.best_tag[0] != alone.best_tag[0]
    assert found.best_tag[1] == alone.best_tag[1]
    assert torch.allclose(found.score[0], (cosine + learnt / 4).gather(1, best)[:, 0], rtol=0, atol=1e-12)
    assert torch.equal(found.score[1], alone.score[1])
    assert torch.equal(found.accepted, found.score >= device.accept_threshold[:, None])


def test_chips_that_are_programmed_one_by_one_capture_what_they_do_at_once(engine, preset):
    together, codes = engine
    photos = made_up_photos()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "_photos", lambda folder: photos)
        task = SmallFacesTask.of(1)
        # Of whom one is in memory at a time: the others' cells are regenerated.
        single = Engine.build(task, preset, 3, NODES, chunk=1)
        people = task.load_people()
        found = single.capture([*people[task.split.enrolled[0]].test, *people[task.split.strangers[0]].test])

    assert torch.equal(found, codes)
    assert not torch.equal(found[0], found[1])
    assert single.ledger.totals(0)[Phase.PROGRAM] == together.ledger.totals(0)[Phase.PROGRAM]
