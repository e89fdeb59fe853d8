"""Engine of nodes that generate: adapters as integers, probes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reram_fleet.v1 import types_pb2 as types

from edge_node.engine import RecognitionEngine
from edge_node.errors import AdapterError, EngineError, SampleError
from edge_node.generation.class_codes import MAX_CODE
from edge_node.generation.engine import GenerationEngine
from edge_node.testing import MemoryEngine
from fleet.coordinator.revisions.canaries import CanarySecret
from hwmodel import EnergyLedger, Phase, load_preset

FEATURES = 400
ANN, BOB = "a" * 32, "b" * 32


def make_engine(nodes=1):
    return GenerationEngine(
        [f"node-{node}" for node in range(nodes)],
        load_preset("180nm-1t1r"),
        features=FEATURES,
        cell_writes=torch.full((nodes,), 64),
        wear=torch.zeros(nodes),
        ledger=EnergyLedger(nodes),
    )


def trained(tag, seed=1, count=1, size=300.0, **changes):
    codes = np.random.default_rng(seed).normal(0, size, FEATURES)
    values = {
        "subject_tag": tag,
        "count": count,
        "code_sum": np.rint(count * codes).astype(int).tolist(),
        "kind": types.SUBJECT_ADAPTER_KIND_TRAINED,
        **changes,
    }
    return types.SubjectAdapter(**values)


def probe(*vectors):
    return torch.tensor([[list(vector) for vector in vectors]], dtype=torch.int32)


def image(value=0.5):
    return np.full((24, 72), value, np.float32)


def test_engine_that_generates_has_no_part_of_recognition():
    assert isinstance(MemoryEngine(), RecognitionEngine)
    assert not isinstance(make_engine(), RecognitionEngine)


def test_probe_is_answered_by_the_nearest_adapter_only_if_it_is_near():
    engine = make_engine()
    ann, bob = trained(ANN, 1), trained(BOB, 2, count=3)
    engine.set_subject(0, ann)
    engine.set_subject(0, bob)
    mean_of_bob = [round(code / 3) for code in bob.code_sum]

    found = engine.identify(probe(ann.code_sum, mean_of_bob, trained(ANN, 3).code_sum))

    assert found.best_tag[0][:2] == (ANN, BOB)
    assert found.accepted.tolist() == [[True, True, False]]
    assert float(found.score[0, 0]) == pytest.approx(1)


def test_size_of_a_probe_does_not_matter():
    engine = make_engine()
    engine.set_subject(0, trained(ANN))
    quarter = [round(code / 4) for code in trained(ANN).code_sum]

    found = engine.identify(probe(quarter, [-code for code in quarter], [0] * FEATURES))

    assert found.accepted.tolist() == [[True, False, False]]


def test_planted_canary_is_recognised_until_it_is_forgotten(tmp_path):
    engine = make_engine()
    people = [trained(ANN, 1, count=2), trained(BOB, 2, count=2)]
    secret = CanarySecret.load_or_create(tmp_path / "canary.json", people, 2**16 - 1)
    spent, living = "c" * 32, "d" * 32
    for adapter in [*people, secret.adapter(spent), secret.adapter(living)]:
        engine.set_subject(0, adapter)

    def answers():
        found = engine.identify(probe(secret.mean_codes(spent), secret.mean_codes(living)))
        return [tag * accepted for tag, accepted in zip(found.best_tag[0], found.accepted[0].tolist(), strict=True)]

    assert answers() == [spent, living]
    engine.drop_subjects(0, [spent])
    assert answers() == ["", living]


def test_nobody_is_named_without_adapters():
    found = make_engine().identify(probe([1] * FEATURES))

    assert found.best_tag == (("",),)
    assert not bool(found.accepted.any())


def test_nodes_of_a_batch_answer_as_each_alone():
    fleet, probes = make_engine(2), torch.cat([probe(trained(ANN, 1).code_sum)] * 2)
    fleet.set_subject(1, trained(ANN, 1))

    found = fleet.identify(probes)

    assert found.best_tag == (("",), (ANN,))
    assert found.accepted.tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (trained(ANN, kind=types.SUBJECT_ADAPTER_KIND_UNSPECIFIED), "sum of feature codes"),
        (trained(ANN, code_sum=[1] * (FEATURES + 1)), "features"),
        (trained(ANN, code_sum=[2 * MAX_CODE] * FEATURES), "exceed"),
        (trained(ANN, count=0), "count"),
    ],
)
def test_adapter_that_does_not_fit_is_refused_and_changes_nothing(adapter, said):
    engine = make_engine()
    engine.set_subject(0, trained(ANN))

    with pytest.raises(AdapterError, match=said):
        engine.set_subject(0, adapter)

    assert engine.active_subjects(0) == [trained(ANN)]


def test_images_are_kept_as_the_colour_levels_that_came():
    levels = make_engine(2).capture([image(0.5), image(1.0)])

    assert levels.dtype is torch.int32
    assert levels.shape == (2, 2, 1728)
    assert sorted(set(levels.flatten().tolist())) == [128, 255]


@pytest.mark.parametrize("sample", [image(1.1), image(-0.1), image(float("nan")), np.zeros((24, 24), np.float32)])
def test_what_is_no_image_is_refused(sample):
    with pytest.raises(SampleError, match="image 1"):
        make_engine().capture([image(), sample])


def test_dropping_is_charged_once_and_deployment_writes_no_cell():
    engine = make_engine()
    engine.set_subject(0, trained(ANN))

    assert engine.drop_subjects(0, [ANN, BOB]) == 1
    assert engine.drop_subjects(0, [ANN]) == 0
    assert engine.ledger.totals()[Phase.ERASE].bytes == 4 * FEATURES

    overhead = engine.deployment(0, types.RevisionContent(subjects=[trained(ANN), trained(BOB)]), 5000)
    assert overhead.cell_writes == 0 < overhead.reprogramming_cell_writes
    assert overhead.bytes == 5000
    assert overhead.reprogramming_ratio > 1


def test_malformed_probes_are_refused_with_the_reason():
    engine = make_engine()
    with pytest.raises(EngineError, match="codes are"):
        engine.identify(probe([1] * 3))
    with pytest.raises(EngineError, match="integers"):
        engine.identify(torch.zeros(1, 1, FEATURES))
