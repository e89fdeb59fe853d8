"""Federated training under label skew: rows learn where their person is known; Flower carries it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from operator import mul

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity
from torch.nn import functional

from edge_node.errors import RoundError, SampleError
from edge_node.recognition.training.exact import STATE_BITS, WEIGHT_BITS
from fleet.lab.replay.cohort import train_cohort
from fleet.lab.replay.cohort_state import (
    DRIVE_BITS,
    HEAD_BITS,
    CohortState,
    LoraRecipe,
    as_values,
    in_units,
    scores,
    start_row,
)
from fleet.lab.replay.federated import (
    Contribution,
    TrainingBatch,
    averaged_state,
    fed_average,
    train_round,
    training_cost,
)
from fleet.lab.replay.hidden_layer import HiddenLayer, PairCodes
from hwmodel import load_preset
from tests.unit.engine.cohort_fleet import (
    ENTRIES,
    HIDDEN,
    INPUTS,
    NODES,
    PLACES,
    RECIPE,
    SEED,
    features,
    plan_of,
    samples_of,
    starts_of,
)

TAGS = tuple(sorted(PLACES))


@pytest.fixture(scope="module")
def nodes():
    return samples_of()


@pytest.fixture(scope="module")
def start(nodes):
    """Everybody's closed form, with a B that is not zero."""
    state = CohortState.empty(HIDDEN, RECIPE.rank).entered(starts_of(nodes)(TAGS, TAGS))
    b = (torch.arange(HIDDEN * RECIPE.rank).reshape(HIDDEN, -1) * 37 % 101 - 50) * 40
    return replace(state, hidden=b.to(torch.int32))


def batch_of(nodes, recipe=RECIPE, tags=TAGS):
    chosen = [plan_of().negatives(0, node.node_id, node.public.samples) for node in nodes]
    return TrainingBatch.of(recipe, nodes, tags, chosen)


def mean_of(before, sent):
    return averaged_state(before, [(c.arrays(), c.num_examples) for c in sent])


def test_flowers_own_fedavg_gives_the_same_bits(nodes, start, monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    sent = [(c.arrays(), c.num_examples) for c in train_round(RECIPE, start, batch_of(nodes))]
    assert len({examples for _, examples in sent}) > 1
    replies = []
    for arrays, examples in sent:
        content = RecordDict(
            {
                "arrays": ArrayRecord({name: Array(np.asarray(values)) for name, values in arrays.items()}),
                "metrics": MetricRecord({"num-examples": examples}),
            }
        )
        asked = Message(RecordDict(), dst_node_id=1, message_type="train")
        replies.append(Message(content, reply_to=asked))

    by_flower, _ = FedAvg().aggregate_train(1, replies)

    assert by_flower is not None
    ours = fed_average(sent)
    assert set(ours) == set(by_flower)
    for name, values in ours.items():
        assert by_flower[name].numpy().tobytes() == values.tobytes()
        assert values.dtype == np.float64


def test_a_row_is_the_mean_over_the_nodes_that_know_the_person(nodes, start):
    sent = train_round(RECIPE, start, batch_of(nodes))
    after = mean_of(start, sent)

    for row, tag in enumerate(TAGS):
        knowing = [c for c, node_id in zip(sent, NODES, strict=True) if node_id in PLACES[tag]]
        weights = [c.num_examples for c in knowing]
        for column, got in enumerate(after.head[row].tolist()):
            codes = [Fraction(c.head[row, column]) * 2**STATE_BITS for c in knowing]
            # Python rounds a fraction half to even, as the mean does.
            assert got == round(sum(map(mul, codes, weights)) / Fraction(sum(weights)))
        unknowing = [c for c, node_id in zip(sent, NODES, strict=True) if node_id not in PLACES[tag]]
        for c in unknowing:
            assert np.array_equal(c.head[row], as_values(start.head[row]).numpy())


def test_the_order_of_messages_does_not_matter(nodes, start):
    sent = train_round(RECIPE, start, batch_of(nodes * 20))

    assert mean_of(start, sent).digest() == mean_of(start, sent[::-1]).digest()
    assert mean_of(start, sent).digest() == mean_of(start, sent[1::2] + sent[::2]).digest()


def test_a_round_in_which_nobody_knows_anybody_changes_no_integer(nodes, start):
    strangers_only = [replace(node, people={}) for node in nodes]

    sent = train_round(RECIPE, start, batch_of(strangers_only))
    after = mean_of(start, sent)

    assert not any(c.known.any() for c in sent)
    assert after.digest() == start.digest()


def test_the_order_of_people_on_a_node_does_not_matter(nodes, start):
    turned = [replace(node, people=dict(reversed(node.people.items()))) for node in nodes]

    for a, b in zip(
        train_round(RECIPE, start, batch_of(nodes)), train_round(RECIPE, start, batch_of(turned)), strict=True
    ):
        assert np.array_equal(a.head, b.head)
        assert np.array_equal(a.hidden, b.hidden)


def test_a_batch_of_nodes_is_as_many_single_nodes(nodes, start):
    together = train_round(RECIPE, start, batch_of(nodes))

    for node, batched in zip(nodes, together, strict=True):
        (alone,) = train_round(RECIPE, start, batch_of([node]))
        # To the bit: an auditor batches what the nodes computed one by one.
        assert np.array_equal(alone.head, batched.head)
        assert np.array_equal(alone.hidden, batched.hidden)
        assert np.array_equal(alone.known, batched.known)


def test_gradients_are_those_of_the_weighted_loss(nodes, start):
    batch = batch_of(nodes)
    b = as_values(start.hidden).expand(len(nodes), -1, -1).clone().requires_grad_()
    head = as_values(start.head).expand(len(nodes), -1, -1).clone().requires_grad_()
    h = (batch.drives + batch.projected @ b.mT).clamp(min=0) - batch.centre
    logits = h @ head.mT - RECIPE.gain / 2
    losses = functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none")
    (losses * batch.weight).sum().backward()

    for_b, for_head = batch.gradients(b.detach(), head.detach(), RECIPE.gain)

    # The table has logits in steps of a sixty-fourth; all else is finer.
    for got, want in ((for_b, b.grad), (for_head, head.grad)):
        assert (got - want).norm() < 0.005 * want.norm()


def test_each_known_row_has_weight_one_shared_by_own_and_other_samples(nodes):
    batch = batch_of(nodes)

    total = batch.weight.sum(dim=1)
    own = (batch.weight * batch.target).sum(dim=1)
    rounding = batch.weight.shape[1] * 2.0 ** -(WEIGHT_BITS + 1)
    assert (total - batch.known.double()).abs().max() <= rounding
    assert (own - RECIPE.own_share * batch.known).abs().max() <= rounding
    assert batch.known.sum(dim=1).tolist() == [2, 3, 2]


def test_only_the_rows_learn_in_the_ablation(nodes, start):
    sent = train_round(replace(RECIPE, train_hidden=False), start, batch_of(nodes))

    assert all(np.array_equal(c.hidden, as_values(start.hidden).numpy()) for c in sent)
    assert not any(np.array_equal(c.head, as_values(start.head).numpy()) for c in sent)


def test_on_a_narrow_layer_lora_learns_what_closed_form_and_rows_cannot(nodes):
    # Sixteen columns for five people and twelve public ones: what the layer drops, no read-out has back.
    recipe = LoraRecipe(a_seed=5, negatives=24)
    plan = plan_of(dict.fromkeys(ENTRIES, 0), recipe, absent_share=0.0)
    rows_only = replace(plan, recipe=replace(recipe, train_hidden=False))
    layer = HiddenLayer.program(INPUTS, HIDDEN, load_preset("180nm-1t1r"), SEED, NODES)
    unseen = torch.cat([features(tag, 9)[3:] for tag in TAGS])
    pairs = layer.capture(unseen.expand(len(NODES), -1, -1))
    target = torch.eye(len(TAGS)).repeat_interleave(6, dim=0).expand(len(NODES), -1, -1)
    closed = CohortState.empty(HIDDEN, recipe.rank).entered(starts_of(nodes)(TAGS, TAGS))

    states = [closed, *(train_cohort(p, nodes, starts_of(nodes)) for p in (rows_only, plan))]

    logits = [scores(recipe, s, pairs, torch.stack([n.centre for n in nodes])) for s in states]
    hits = [float((x.argmax(dim=2) == target.argmax(dim=2)).double().mean()) for x in logits]
    losses = [float(functional.binary_cross_entropy_with_logits(x, target)) for x in logits]
    assert hits[2] >= hits[0] + 0.05
    assert losses[2] < 0.5 * losses[1] < 0.5 * losses[0]


def test_pooling_sees_every_sample_once_and_each_row_with_weight_one(nodes):
    batch = batch_of(nodes)

    pooled = batch.pooled(RECIPE)

    assert pooled.samples.tolist() == [int(batch.samples.sum())]
    assert (pooled.weight.sum(dim=1) - 1).abs().max() < 1e-4
    assert pooled.target.sum() == batch.target.sum()
    padding = (torch.arange(batch.target.shape[1]) >= batch.samples[:, None]).reshape(-1)
    assert pooled.weight[0, padding].abs().sum() == 0


def test_plain_fedavg_trains_everybody_everywhere_on_the_same_samples(nodes):
    batch = batch_of(nodes)

    plain = batch.as_if_all_known(RECIPE)

    assert plain.known.all()
    assert torch.equal(plain.target, batch.target)
    known = batch.known[:, None].expand_as(plain.weight)
    assert torch.equal(plain.weight[known], batch.weight[known])
    unknown = plain.weight.sum(dim=1)[~batch.known]
    assert (unknown - (1 - RECIPE.own_share)).abs().max() < 1e-4


def test_a_start_row_is_the_closed_form_rounded_once():
    column = np.array([3, -3, 2**30, -(2**30) + 1, 5_000_001], dtype=np.int32)

    row = start_row(column, scale_bits=30, gain=10)

    for code, got in zip(column.tolist(), row.tolist(), strict=True):
        exact = Fraction(code * 10, 2**30) * 2 ** (STATE_BITS + DRIVE_BITS)
        assert abs(got - exact) <= Fraction(1, 2)


def test_a_start_row_that_does_not_fit_is_refused():
    with pytest.raises(RoundError, match="beyond int32"):
        start_row(np.array([2**31 - 1], dtype=np.int64), scale_bits=8, gain=10)


def test_the_untrained_state_scores_as_the_closed_form(nodes):
    state = CohortState.empty(HIDDEN, RECIPE.rank).entered(starts_of(nodes)(TAGS, TAGS))
    pairs = PairCodes(*(torch.stack([getattr(n.public, f) for n in nodes]) for f in ("inputs", "drives")))
    centre = torch.stack([node.centre for node in nodes])

    logits = scores(RECIPE, state, pairs, centre)

    h = in_units(pairs.drives.clamp(min=0) - centre[:, None])
    exact = h @ as_values(state.head).mT - RECIPE.gain / 2
    # Rows have four bits less in a product than they are kept with.
    assert ((logits - exact).abs() <= h.abs().sum(dim=2, keepdim=True) * 2.0 ** -(HEAD_BITS + 1) + 1e-9).all()


def test_a_state_survives_its_bytes(start):
    read = CohortState.from_bytes(start.to_bytes())

    assert read.tags == start.tags
    assert torch.equal(read.hidden, start.hidden)
    assert torch.equal(read.head, start.head)
    for damaged in (b"", start.to_bytes()[:-4], start.to_bytes()[:9]):
        with pytest.raises(RoundError):
            CohortState.from_bytes(damaged)


def test_states_that_do_not_fit_are_refused(start):
    with pytest.raises(RoundError, match="already in the cohort: anna"):
        start.entered({"anna": start.head[0]})
    with pytest.raises(RoundError, match="sorted and each once"):
        replace(start, tags=start.tags[::-1])
    with pytest.raises(RoundError, match="sorted and each once"):
        replace(start, head=start.head[:, 1:])


def test_diverged_learning_is_refused(start):
    known = np.ones(len(TAGS), dtype=bool)
    for bad in (np.inf, np.nan, 1e9):
        arrays = Contribution(np.full((HIDDEN, 4), bad), as_values(start.head).numpy(), known, 5).arrays()
        with pytest.raises(RoundError, match="diverged"):
            averaged_state(start, [(arrays, 5)])


@pytest.mark.parametrize(
    "wrong", [{"rank": 0}, {"own_share": 1.0}, {"learning_rate": 0.0}, {"steps": 0}, {"negatives": 0}]
)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(RoundError, match="a recipe's"):
        LoraRecipe(a_seed=1, **wrong)


def test_pairs_of_other_types_or_lengths_are_refused():
    codes = torch.zeros(2, 3, dtype=torch.int32)
    for inputs, drives in ((codes.float(), codes), (codes, codes[:1])):
        with pytest.raises(SampleError, match="captured pairs are int32"):
            PairCodes(inputs, drives)


def test_pairs_are_bitwise_the_same_for_one_chip_and_for_three():
    preset = load_preset("180nm-1t1r")
    together = HiddenLayer.program(INPUTS, HIDDEN, preset, SEED, NODES)
    alone = HiddenLayer.program(INPUTS, HIDDEN, preset, SEED, NODES[1:2])
    codes = features("anna", 4)

    pairs = together.capture(codes.expand(3, -1, -1))

    assert torch.equal(pairs.drives[1:2], alone.capture(codes[None]).drives)
    assert not torch.equal(pairs.drives[0], pairs.drives[1])


def test_a_round_costs_more_with_more_samples_people_and_steps():
    preset = load_preset("180nm-1t1r")

    def joules(recipe=RECIPE, people=5, samples=20):
        return training_cost(preset, recipe, 1024, 512, people, samples).energy_j

    assert (
        0
        < joules()
        < min(joules(people=6), joules(samples=21), joules(replace(RECIPE, steps=4)), joules(replace(RECIPE, rank=5)))
    )
