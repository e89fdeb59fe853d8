"""Approximate repair on made-up people: the rows of the table, and a reference that never met the person."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fleet.heads.public import PublicCodes
from fleet.lab.fleets.captured_fleet import chosen
from fleet.lab.fleets.shared_lora import padded, train
from fleet.lab.fleets.shared_lora_fleet import SharedLoraFleet
from fleet.lab.paper.methods import METHODS, method_named
from fleet.lab.verification.judging import Verdict
from hwmodel import Phase, load_preset
from tests.bench.workloads.approximate_repair import CLEARED, MASKED, UNTOUCHED, compare, judged

NAMES = ("ada", "bo", "cy", "di", "eve")
NODES, FEATURES = 3, 64


def made_up_people(nodes=NODES):
    """Five people on three chips: everybody's codes are near a direction of their own."""
    generator = torch.Generator().manual_seed(7)

    def samples(count):
        centre = 60 * torch.randn(FEATURES, generator=generator)
        codes = centre + 25 * torch.randn(NODES, count, FEATURES, generator=generator)
        return codes.round().to(torch.int32)[:nodes]

    public = [samples(6) for _ in range(4)]
    people = {name: samples(10) for name in NAMES}
    return SimpleNamespace(
        engine=SimpleNamespace(node_ids=tuple(f"n{node}" for node in range(nodes))),
        public=PublicCodes(torch.cat(public, dim=1).numpy(), np.repeat(np.arange(4), 6)),
        enrolled=NAMES,
        train={name: codes[:, :5] for name, codes in people.items()},
        test={name: codes[:, 5:] for name, codes in people.items()},
        places={name: (k % nodes, (k + 1) % nodes) for k, name in enumerate(NAMES)},
    )


@pytest.fixture(scope="module")
def preset():
    return load_preset("180nm-1t1r")


@pytest.fixture(scope="module")
def fleet(preset):
    return SharedLoraFleet(made_up_people(), preset, seed=5, hidden=64)


@pytest.fixture(scope="module")
def one(preset):
    return compare(made_up_people(), seed=5, forgotten=2)


def test_table_has_every_way_to_forget_beside_the_untouched_adapter(one):
    methods = [row.method for row in one.rows]

    assert methods[:6] == [UNTOUCHED, MASKED, CLEARED, *METHODS]
    assert len(methods) == len(set(methods)) == 9
    by_name = {row.method: row for row in one.rows}
    assert by_name[UNTOUCHED].ua == 0.0
    assert by_name["negative-gradient"].ua == 1.0
    assert by_name["negative-gradient"].energy_j > 0 == by_name[CLEARED].energy_j
    assert by_name["negative-gradient"].gap < by_name[UNTOUCHED].gap


def test_untouched_adapter_is_not_forgotten_and_every_pair_counts(one):
    verdicts = {judgement.method: judgement.verdict for judgement in judged([one, one])}

    assert verdicts[UNTOUCHED] is Verdict.NOT_FORGOTTEN
    assert all(len(evidence.pairs) == 2 for evidence in one.evidence)


def test_reference_and_cleared_start_have_nothing_in_the_person_s_row(fleet):
    row = NAMES.index("bo")

    assert not fleet.retrained("bo")[1][:, row].any()
    assert not fleet.cleared("bo")[1][:, row].any()
    assert fleet.original[1][:, row].any()


def test_cleared_start_differs_from_the_reference_s_start_by_what_gradients_did_alone(fleet):
    others = [k for k, name in enumerate(NAMES) if name != "bo"]
    learnt = fleet.original[1] - fleet.start[1]

    left = fleet.cleared("bo")[1] - fleet.closed_form_without("bo")[1]

    torch.testing.assert_close(left[:, others], learnt[:, others], rtol=0, atol=1e-5)


def test_reference_does_not_depend_on_the_person_s_samples(preset, fleet):
    changed = made_up_people()
    changed.train["bo"] = changed.train["bo"] * 0 + 17

    again = SharedLoraFleet(changed, preset, seed=5, hidden=64)

    assert all(torch.equal(a, b) for a, b in zip(again.retrained("bo"), fleet.retrained("bo"), strict=True))
    assert not torch.equal(again.original[1], fleet.original[1])


def test_nodes_that_never_met_the_person_do_not_change_the_repair(preset, fleet):
    method = method_named("negative-gradient")
    absent = next(node for node in range(NODES) if node not in made_up_people().places["bo"])
    other = made_up_people()
    for name in NAMES:
        if name != "bo":
            other.train[name][absent] += 1
    start = fleet.cleared("bo")

    changed = SharedLoraFleet(other, preset, seed=5, hidden=64).repaired("bo", method, 1, start)

    assert all(torch.equal(a, b) for a, b in zip(changed, fleet.repaired("bo", method, 1, start), strict=True))


def test_chips_see_the_same_alone_and_in_a_fleet(preset, fleet):
    alone = SharedLoraFleet(made_up_people(nodes=1), preset, seed=5, hidden=64)

    views = alone.network.views(made_up_people(nodes=1).test["ada"])
    together = fleet.network.views(made_up_people().test["ada"])

    assert alone.network.shift == fleet.network.shift
    assert torch.equal(views.hidden, together.hidden[:1])
    assert torch.equal(views.projected, together.projected[:1])


def test_training_makes_everybody_known(fleet):
    scores = fleet.scores("ada", fleet.original)

    assert scores.recognised_train.value == 1.0
    assert scores.retained_train.value == 1.0
    assert scores.relearn_steps == 1
    later = train(fleet.network, fleet.samples("ada"), fleet.cleared("ada"), rounds=1)
    assert fleet.outputs("ada", later).recognised_train.value == 0.0


def test_repair_is_charged_for_steps_and_for_the_radio(fleet, preset):
    method = method_named("negative-gradient")
    once = fleet.repair_cost("ada", method, 1, preset)
    twice = fleet.repair_cost("ada", method, 2, preset)

    assert set(once) == {Phase.TRAIN, Phase.RADIO}
    for phase, spent in once.items():
        assert twice[phase].energy_j == pytest.approx(2 * spent.energy_j)
        assert spent.cell_writes == 0 < spent.energy_j


def test_people_to_forget_are_drawn_by_the_seed():
    assert len(set(chosen(1, NAMES, 3))) == 3
    assert chosen(1, NAMES, 3) == chosen(1, NAMES, 5)[:3]
    assert len({tuple(chosen(seed, NAMES, 5)) for seed in range(5)}) > 1


def test_padding_is_told_from_samples(fleet):
    views = fleet.network.views(made_up_people().test["ada"])

    stacked, real = padded([views.of_nodes(0, slice(0, 2)), views.of_nodes(1, slice(0, 4))])

    assert stacked.hidden.shape[:2] == (2, 4)
    assert real.sum(dim=1).tolist() == [2, 4]
