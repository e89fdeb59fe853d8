"""Exact training of output rows: the same integers in a batch, in any order, with any padding, on any kernel."""

from __future__ import annotations

import hashlib
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from edge_node.recognition.training.state import encode
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, LEARNING_KIND_UNLEARN_LORA, JobTicket, LoraShape
from torch.nn.functional import pad

from edge_node.errors import RoundError
from edge_node.recognition.engine import RoundRequest
from edge_node.recognition.training import exact, logistic, neggrad
from edge_node.recognition.training.logistic import LabelledSamples
from fleet.coordinator.learning.lora_state import initial_state
from hwmodel import keyed_normal, keyed_uint16

SAMPLES = (190, 730, 370)
RANK = 16
#: Public samples of the speakers task.
PUBLIC = 90


# -------------------------------------------------------------------------- the output rows, by the engine


@pytest.fixture
def samples_of(captured, adapters, device, fleet):
    """Samples of some people on three nodes; with the public ones they come to `SAMPLES`."""
    for engine in (device, fleet):
        for node in range(len(engine.node_ids)):
            for adapter in adapters.values():
                engine.set_subject(node, adapter)

    def drawn(node, tag, count):
        train = captured[tag][0]
        codes = train.repeat(-(-count // len(train)), 1)[:count]
        noise = 20 * keyed_normal(1, "exact.samples", node, tag, count=codes.numel()).reshape(codes.shape)
        return codes + noise.round().to(codes.dtype)

    def of(tags):
        return [
            {tag: drawn(node, tag, (samples - PUBLIC) // len(tags)) for tag in tags}
            for node, samples in enumerate(SAMPLES)
        ]

    return of


def ticket_of(engine, kind, tags, forget=()):
    shape = LoraShape(features=engine.features, rank=RANK, alpha=RANK, a_seed=9, scale_bits=16)
    return JobTicket(job_id="j", round=1, kind=kind, subject_tags=tags, forget_tags=forget, lora=shape)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("node", range(3))
def test_a_round_of_training_is_the_same_alone_and_in_a_batch(device, fleet, adapters, samples_of, node, rows):
    tags = sorted(adapters)[:rows]
    ticket, samples = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags), samples_of(tags)
    state = initial_state(tags, ticket.lora, None)

    alone = device.run_rounds([RoundRequest(0, ticket, state, samples[node], {})])[0]
    # The device is the middle chip of the fleet: in its place of a batch are its samples.
    beside = [samples[node] if chip == 1 else samples[chip] for chip in range(3)]
    many = fleet.run_rounds([RoundRequest(chip, ticket, state, beside[chip], {}) for chip in (2, 1, 0)])

    assert alone.num_examples == SAMPLES[node]
    assert many[1].state == alone.state
    assert many[1].metrics == alone.metrics
    assert many[0].state != alone.state


@pytest.mark.parametrize("node", range(3))
def test_a_round_of_repair_is_the_same_alone_and_in_a_batch(device, fleet, adapters, samples_of, node):
    tags = sorted(adapters)
    ticket = ticket_of(device, LEARNING_KIND_UNLEARN_LORA, tags, tags[:1])
    # Rows so large that the forgotten stand out.
    rows = keyed_normal(1, "exact.rows", count=len(tags) * RANK).reshape(len(tags), RANK)
    state, samples = encode(tags, rows, torch.ones(len(tags), dtype=torch.bool)), samples_of(tags)

    def request(chip, taken):
        kept = {tag: codes for tag, codes in taken.items() if tag != tags[0]}
        return RoundRequest(chip, ticket, state, kept, {tags[0]: taken[tags[0]]})

    (alone,) = device.run_rounds([request(0, samples[node])])
    many = fleet.run_rounds([request(chip, samples[node if chip == 1 else chip]) for chip in range(3)])

    assert alone.metrics["forget_above_hinge_after"] < alone.metrics["forget_above_hinge_before"]
    assert many[1].state == alone.state
    assert many[1].metrics == alone.metrics


# ---------------------------------------------------------------------------- the output rows, by themselves


@pytest.fixture(scope="module")
def samples():
    """Made-up samples of three nodes with `SAMPLES` samples each, five rows, and B."""
    longest, people = max(SAMPLES), 5
    shape = (len(SAMPLES), longest)

    def drawn(name, size, bits, scale):
        codes = keyed_uint16(3, name, count=math.prod(shape) * size).reshape(*shape, size)
        return exact.on_grid((codes.double() / 2**15 - 1) * scale, bits)

    real = (torch.arange(longest) < torch.tensor(SAMPLES)[:, None])[:, :, None]
    person = torch.arange(longest) % (2 * people)
    target = (person[:, None] == torch.arange(people)).double().expand(*shape, -1) * real
    return LabelledSamples(
        drawn("exact.u", RANK, 11, 1.5) * real,
        drawn("exact.base", people, 12, 6.0) * real,
        target,
        exact.class_weights(target, real, 0.05) * real,
    )


def some_of(samples, nodes, order=None, longer=0):
    taken = (getattr(samples, field.name)[nodes] for field in fields(samples))
    return LabelledSamples(*(pad(t if order is None else t[:, order], (0, 0, 0, longer)) for t in taken))


def learn(samples):
    """Train and repair from rows that are not zero, so that every sample weighs in."""
    nodes, _, rows = samples.target.shape
    b = exact.on_grid(torch.arange(rows * RANK).reshape(rows, RANK) % 7 / 7 - 0.4, 16).expand(nodes, -1, -1)
    every = torch.ones(nodes, rows, dtype=torch.bool)
    trained = logistic.train(b, samples, every)
    present = samples.weight.any(dim=2)
    repaired = neggrad.unlearn(trained, samples, samples.projected, samples.base, present, every)
    return torch.cat([trained, repaired, samples.loss(trained)[:, None, None].expand(-1, 1, RANK)], dim=1)


def test_training_and_repair_are_the_same_alone_in_any_order_and_with_any_padding(samples):
    together = learn(samples)

    alone = [learn(some_of(samples, [n], torch.arange(count))) for n, count in enumerate(SAMPLES)]
    backwards = torch.arange(max(SAMPLES)).flip(0)

    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(learn(some_of(samples, [0, 1, 2], backwards, longer=33)), together)
    assert torch.equal(learn(some_of(samples, [2, 1, 0] * 5))[:3].flip(0), together)
    assert not torch.equal(together[0], together[1])


def test_training_and_repair_are_these_integers_on_every_machine(samples):
    codes = (learn(samples) * 2.0**16).round().to(torch.int64)

    digest = hashlib.sha256(codes.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest == "39a1caac7219279f4a1e679b170e15df96a4501919ca0383bce7133b28036af1"


def test_a_single_row_is_the_same_alone_and_beside_others(samples):
    one = LabelledSamples(samples.projected, *(getattr(samples, n)[:, :, :1] for n in ("base", "target", "weight")))

    assert torch.equal(learn(one)[:, 0], learn(samples)[:, 0])


def test_gradients_of_rows_are_those_of_integer_products(samples):
    b = exact.on_grid(torch.arange(5 * RANK).reshape(5, RANK) % 11 / 11 - 0.4, 16)
    gradient = samples.gradient(b.expand(3, -1, -1))

    for n in range(3):
        u = np.int64(samples.projected[n].numpy() * 2**11)
        base = np.int64(samples.base[n].numpy() * 2**12)
        logits = torch.from_numpy((base * 2**15 + u @ np.int64(b.numpy() * 2**16).T) / 2.0**27)
        error = exact.sigmoid(logits) - samples.target[n]
        error = np.int64((samples.weight[n] * error * 2.0**16).round().numpy())
        wanted = torch.from_numpy((error.T @ u) / 2.0**27)
        assert torch.equal(exact.on_grid(wanted, logistic.GRADIENT_BITS), gradient[n])


# ------------------------------------------------------------------------------------ arithmetic and bounds


def test_tables_are_sigmoid_and_softplus():
    x = torch.linspace(-40, 40, 4001, dtype=torch.float64)

    assert (exact.sigmoid(x) - torch.sigmoid(x)).abs().max() < 2.0**-7 / 4 + 2.0**-16
    assert (exact.softplus(x) - torch.nn.functional.softplus(x)).abs().max() < 2.0**-7 + 2.0**-16
    assert exact.sigmoid(torch.zeros(1)).item() == 0.5


def test_the_whole_root_is_that_of_integer_arithmetic():
    near = [k * k + d for k in (1, 2, 3, 4095, 2**20 + 7, 2**25 - 1, 67_108_863) for d in (-1, 0, 1)]
    squares = near + (keyed_uint16(1, "exact.root", count=4000).long() ** 3).tolist()

    roots = exact._whole_root(torch.tensor(squares, dtype=torch.float64))

    assert roots.tolist() == [math.isqrt(square) for square in squares]


def test_adam_moves_by_the_rate_against_a_steady_gradient():
    adam = exact.Adam(torch.zeros(3), 0.01, 20, gradient_bits=22)
    values = torch.zeros(3, dtype=torch.float64)
    for _ in range(20):
        values = adam.update(values, torch.tensor([0.5, -0.001, 0.0], dtype=torch.float64))

    assert torch.equal(values, exact.on_grid(values, 16))
    assert values.tolist() == pytest.approx([-0.2, 0.2, 0.0], abs=0.002)


def test_a_rate_whose_steps_would_not_be_exact_is_refused():
    with pytest.raises(RoundError, match="steps of Adam may reach"):
        exact.Adam(torch.zeros(1), 1e6, 3, gradient_bits=22)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projected": 2.0**20}, "logits may reach"),
        ({"base": 2.0**24}, "logits may reach"),
        ({"weight": 2.0**30}, "gradients may reach"),
        ({"projected": 1 / 3}, "projected are not float64 multiples"),
        ({"base": 1 / 3}, "base are not float64 multiples"),
    ],
)
def test_samples_whose_sums_might_not_be_exact_are_refused(samples, change, message):
    ((name, factor),) = change.items()

    with pytest.raises(RoundError, match=message):
        replace(samples, **{name: getattr(samples, name) * factor})


def test_forgotten_samples_whose_sums_might_not_be_exact_are_refused(samples):
    b, every = torch.zeros(3, 5, RANK, dtype=torch.float64), torch.ones(3, 5, dtype=torch.bool)
    present = samples.weight.any(dim=2)

    for projected in (samples.projected * 2.0**20, samples.projected / 3):
        with pytest.raises(RoundError, match="exact"):
            neggrad.unlearn(b, samples, projected, samples.base, present, every)
