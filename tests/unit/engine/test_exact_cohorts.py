"""Exact training of cohorts: the same integers in a batch, in any order, with any padding, on any kernel."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from edge_node.errors import RoundError
from edge_node.recognition.training import exact
from fleet.lab.replay import cohort
from fleet.lab.replay.audit import ReplayVerdict, audit_replay
from fleet.lab.replay.codes import AuditCodes
from fleet.lab.replay.cohort import train_cohort
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe
from fleet.lab.replay.federated import NodeSamples, TrainingBatch, averaged_state, train_round
from fleet.lab.replay.forgetting import forget_by_replay
from fleet.lab.replay.hidden_layer import HiddenLayer, public_centre
from fleet.lab.replay.manifest import ReplayManifest
from hwmodel import load_preset
from tests.unit.engine.cohort_fleet import (
    ENTRIES,
    INPUTS,
    NODES,
    PLACES,
    SEED,
    checkpoints_in,
    features,
    plan_of,
    starts_of,
    strangers,
)

#: Samples of the nodes east, north and west. Trained in float32, 4,009 of the 4,736 integers of this cohort
#: differ between nodes alone and in a batch, on an AMD EPYC.
SAMPLES = (190, 730, 370)
HIDDEN = 128
RECIPE = LoraRecipe(a_seed=5, rank=32, rounds=10, negatives=10)
PLAN = plan_of(ENTRIES, RECIPE)


@pytest.fixture(scope="module")
def nodes():
    """Three nodes whose own and public samples come to `SAMPLES`."""
    layer = HiddenLayer.program(INPUTS, HIDDEN, load_preset("180nm-1t1r"), SEED, NODES)
    public = layer.capture(strangers().expand(len(NODES), -1, -1))
    pairs = {who: layer.capture(features(who, 360).expand(len(NODES), -1, -1)) for who in PLACES}
    found = []
    for n, (name, samples) in enumerate(zip(NODES, SAMPLES, strict=True)):
        mine = [who for who, places in PLACES.items() if name in places]
        share = (samples - RECIPE.negatives) // len(mine)
        people = {who: pairs[who].at(n, slice(share)) for who in mine}
        found.append(NodeSamples(name, people, public.at(n), public_centre(public.drives)[n]))
    return tuple(found)


@pytest.fixture(scope="module")
def start(nodes):
    tags = tuple(sorted(PLACES))
    state = CohortState.empty(HIDDEN, RECIPE.rank).entered(starts_of(nodes)(tags, tags))
    b = (torch.arange(HIDDEN * RECIPE.rank).reshape(HIDDEN, -1) * 37 % 101 - 50) * 40
    return replace(state, hidden=b.to(torch.int32))


def batch_of(nodes, tags):
    chosen = [PLAN.negatives(0, node.node_id, node.public.samples) for node in nodes]
    return TrainingBatch.of(RECIPE, nodes, tags, chosen)


def rearranged(batch, nodes=slice(None), order=None, longer=0):
    """Return some nodes of a batch, their samples in another order and padded further."""
    taken = {field.name: getattr(batch, field.name)[nodes] for field in fields(batch)}
    for name in ("projected", "drives", "target", "weight"):
        values = taken[name] if order is None else taken[name][:, order]
        taken[name] = pad(values, (0, 0, 0, longer))
    return TrainingBatch(**taken)


def one_by_one(recipe, state, batch):
    """Train every node alone, without any padding."""
    alone = []
    for n, samples in enumerate(batch.samples.tolist()):
        own = rearranged(batch, slice(n, n + 1), torch.arange(samples))
        alone += train_round(recipe, state, own)
    return alone


def same(some, others) -> bool:
    return all(
        np.array_equal(a.hidden, b.hidden) and np.array_equal(a.head, b.head) for a, b in zip(some, others, strict=True)
    )


def test_nodes_have_the_samples_that_floats_trip_over(nodes, start):
    assert tuple(batch_of(nodes, start.tags).samples.tolist()) == SAMPLES


def test_a_cohort_round_is_the_same_alone_in_any_order_and_with_any_padding(nodes, start):
    batch = batch_of(nodes, start.tags)
    together = train_round(RECIPE, start, batch)
    backwards = torch.arange(batch.target.shape[1]).flip(0)

    assert not np.array_equal(together[0].hidden, together[1].hidden)
    assert same(one_by_one(RECIPE, start, batch), together)
    assert same(train_round(RECIPE, start, rearranged(batch, longer=295)), together)
    assert same(train_round(RECIPE, start, rearranged(batch, order=backwards)), together)
    assert same(train_round(RECIPE, start, rearranged(batch, nodes=[2, 0, 1]))[1:], together[:2])
    assert same(train_round(RECIPE, start, rearranged(batch, nodes=[0, 1, 2] * 7))[-3:], together)


def test_a_cohort_round_is_the_same_with_other_threads(nodes, start):
    batch, threads = batch_of(nodes, start.tags), torch.get_num_threads()
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(train_round(RECIPE, start, batch))
    torch.set_num_threads(threads)

    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_a_cohort_trained_node_by_node_is_the_one_trained_as_a_batch(nodes, monkeypatch):
    together = train_cohort(PLAN, nodes, starts_of(nodes))
    monkeypatch.setattr(cohort, "train_round", one_by_one)
    alone = train_cohort(PLAN, nodes, starts_of(nodes))

    assert int((alone.head != together.head).sum() + (alone.hidden != together.hidden).sum()) == 0


def test_an_honest_forget_of_nodes_that_computed_alone_is_reproduced_by_a_batch(nodes, tmp_path):
    plan, checkpoints = PLAN, checkpoints_in(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort, "train_round", one_by_one)
        before = train_cohort(plan, nodes, starts_of(nodes), on_checkpoint=lambda n, s: checkpoints.save(0, n, s))
        result = forget_by_replay(plan, nodes, starts_of(nodes), checkpoints, "dora")
    codes = AuditCodes.of(nodes, result.plan.entries)
    codes.write(tmp_path / "codes")
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(ReplayManifest.of(result, "dora", before, codes, [plan]).to_bytes())

    audit = audit_replay(manifest, tmp_path / "codes")

    assert audit.verdict is ReplayVerdict.REPRODUCED, [line for line in audit.lines if not line.holds]


def test_a_cohort_is_these_integers_on_every_machine(nodes):
    digest = train_cohort(PLAN, nodes, starts_of(nodes)).digest()

    assert digest == "099531a6b5dd648840485795eb2999087fec630b1907520cc249eb68f238aea6"


def test_gradients_of_a_cohort_are_those_of_integer_products(nodes, start):
    batch, scale = batch_of(nodes, start.tags), 2**7
    b, head = (np.int64(x.numpy()) for x in (start.hidden, start.head))
    b, head = (np.rint(x / 2.0**s).astype(np.int64) for x, s in ((b, 6), (head, 4)))

    for_b, for_head = batch.gradients(
        *(torch.from_numpy(x / 2.0**16).expand(3, -1, -1) for x in (start.hidden.numpy(), start.head.numpy())),
        RECIPE.gain,
    )

    for n in range(len(nodes)):
        p, y, centre = (
            np.int64(x.numpy() * s)
            for x, s in ((batch.projected[n], 2**11), (batch.drives[n], scale), (batch.centre[n], scale))
        )
        pre = y * 2**14 + p @ b.T
        h = np.maximum(pre, 0) - centre * 2**14
        logits = torch.from_numpy((h @ head.T) / 2.0**33 - RECIPE.gain / 2)
        error = exact.sigmoid(logits) - batch.target[n]
        error = np.int64((batch.weight[n] * error * 2.0**16).round().numpy())
        assert np.array_equal(error.T @ h, np.int64(for_head[n].numpy() * 2.0**37))
        assert np.array_equal(((error @ head) * (pre > 0)).T @ p, np.int64(for_b[n].numpy() * 2.0**39))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drives": 2.0**24}, "logits may reach"),
        ({"projected": 2.0**24}, "gradients of B may reach"),
        ({"weight": 2.0**24}, "gradients of rows may reach"),
        ({"weight": 1 / 3}, "weight are not float64 multiples"),
        ({"centre": 2.0**-9}, "centre are not float64 multiples"),
    ],
)
def test_a_batch_whose_sums_might_not_be_exact_is_refused(nodes, start, change, message):
    batch = batch_of(nodes, start.tags)
    ((name, factor),) = change.items()

    with pytest.raises(RoundError, match=message):
        replace(batch, **{name: getattr(batch, name) * factor})


def test_a_mean_that_might_not_be_exact_is_refused(nodes, start):
    (sent,) = train_round(RECIPE, start, batch_of(nodes[:1], start.tags))

    with pytest.raises(RoundError, match="too large to be averaged"):
        averaged_state(start, [(sent.arrays(), 2**34)])
