"""Exact training of a LoRA: the same integers in a batch, in any order, with any padding, on any kernel."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, LEARNING_KIND_UNLEARN_LORA, JobTicket, LoraShape

from edge_node.errors import RoundError
from edge_node.recognition.engine import RoundRequest
from edge_node.recognition.lora.stage import LAWS, Stage
from edge_node.recognition.training import exact, logistic
from edge_node.recognition.training.logistic import AskedSamples, Recipe
from fleet.coordinator.learning.lora_state import initial_state
from hwmodel import keyed_normal, keyed_uint16
from tests.lora_states import arrays_with
from tests.unit.engine import exact_stages
from tests.unit.engine.exact_stages import STAGES, learn, made_up

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
    shape = LoraShape(features=engine.features, rank=RANK, alpha=RANK, a_seed=9, scale_bits=14)
    return JobTicket(job_id="j", round=1, kind=kind, subject_tags=tags, forget_tags=forget, lora=shape)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("node", range(3))
def test_a_round_of_training_is_the_same_alone_and_in_a_batch(device, fleet, adapters, samples_of, node, rows):
    tags = sorted(adapters)[:rows]
    ticket, samples = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags), samples_of(tags)
    state = initial_state(tags, ticket.lora, None).encode()

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
    rows = keyed_normal(1, "exact.rows", count=len(tags) * RANK).reshape(len(tags), RANK).clamp(-1.9, 1.9)
    state, samples = arrays_with(tags, rows).encode(), samples_of(tags)

    def request(chip, taken):
        kept = {tag: codes for tag, codes in taken.items() if tag != tags[0]}
        return RoundRequest(chip, ticket, state, kept, {tags[0]: taken[tags[0]]})

    (alone,) = device.run_rounds([request(0, samples[node])])
    many = fleet.run_rounds([request(chip, samples[node if chip == 1 else chip]) for chip in range(3)])

    assert alone.metrics["forget_above_hinge_after"] < alone.metrics["forget_above_hinge_before"]
    assert many[1].state == alone.state
    assert many[1].metrics == alone.metrics


# -------------------------------------------------------------------------------- stages, by themselves


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_training_and_repair_are_the_same_alone_in_any_order_and_with_any_padding(stage):
    start, samples = made_up(stage)
    together = learn(stage, start, samples)
    backwards = torch.arange(max(exact_stages.SAMPLES)).flip(0)

    alone = [
        learn(stage, start[n : n + 1], exact_stages.at(samples, [n], torch.arange(count)))
        for n, count in enumerate(exact_stages.SAMPLES)
    ]
    shuffled = learn(stage, start, exact_stages.at(samples, [0, 1, 2], backwards, longer=33))
    many = learn(stage, start[torch.tensor([2, 1, 0] * 5)], exact_stages.at(samples, [2, 1, 0] * 5))

    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(shuffled, together)
    assert torch.equal(many[:3].flip(0), together)
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ATEN_CPU_CAPABILITY", "default"), ("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_CBWR", "COMPATIBLE"), ("THREADS", "2")],
)
def test_training_and_repair_are_the_same_integers_under_other_kernels(variable, value):
    here = exact_stages.digests()

    there = subprocess.run(
        [sys.executable, "-m", "tests.unit.engine.exact_stages"],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert there.stdout.split() == here
    assert len(set(here)) == len(STAGES)


def test_training_and_repair_are_these_integers_on_every_machine():
    assert [digest[:16] for digest in exact_stages.digests()] == [
        "45a1a33c4cd82e08",
        "277ba377b24d9e63",
        "a496ef5965198873",
        "1a5481fa40eb4e03",
    ]


def test_a_single_row_is_the_same_alone_and_beside_others():
    stage = Stage(4)
    start, samples = made_up(stage)
    first = torch.zeros(3, 1, dtype=torch.int64)

    one = logistic.train(
        Recipe.of(stage), start.of_rows(first), samples.of_rows(first), exact_stages.every(samples)[:, :1]
    )

    assert torch.equal(
        one.rows, logistic.train(Recipe.of(stage), start, samples, exact_stages.every(samples)).rows[:, :1]
    )


def test_gradients_are_those_of_integer_products():
    stage = Stage(rank=4, neurons=6, segments=2)
    start, samples = made_up(stage)

    found = samples.gradient(start)

    reads = samples.asked.reads
    for n in range(3):

        def codes(values, bits):
            return np.int64(np.rint(values.double().numpy() * 2.0**bits))

        a, y = codes(reads.projected[n], 5), codes(reads.drives[n], 7)
        b, rows = codes(exact.on_grid(start.b[n], 7), 7), codes(exact.on_grid(start.rows[n], 7), 7)
        pre = a @ b.T + (y << 5)
        slope = pre > 0
        h = np.rint(np.where(slope, pre, 0).sum(axis=1) / 2 * 2.0**-7).clip(-256, 256) - codes(
            samples.asked.nobody[n], 5
        )
        u = np.int64(np.concatenate([h.clip(-256, 256), np.rint(a.sum(axis=1) / 2).clip(-256, 256)], axis=1))
        logits = torch.from_numpy(u @ rows.T + codes(samples.asked.base[n], 12)) * 2.0**-12
        error = codes((exact.sigmoid(logits.float()) - samples.target[n]) * samples.weight[n], 14)
        assert np.array_equal(error.T @ u, codes(found.rows[n], 19))
        back = error @ rows[:, :6]
        at = np.int64(np.rint(back[:, None] * slope / 2 * 2.0**-9).clip(-512, 512))
        assert np.array_equal(np.einsum("spn,spr->nr", at, a), codes(found.b[n], 17))
        assert found.b[n].any()


# ------------------------------------------------------------------------------------ arithmetic and bounds


def test_tables_are_sigmoid_and_softplus():
    x = torch.linspace(-40, 40, 4001, dtype=torch.float64)

    assert (exact.sigmoid(x) - torch.sigmoid(x)).abs().max() < 2.0**-7 / 4 + 2.0**-16
    assert (exact.softplus(x) - torch.nn.functional.softplus(x)).abs().max() < 2.0**-7 + 2.0**-16
    assert exact.sigmoid(torch.zeros(1)).item() == 0.5


def test_the_whole_root_is_that_of_integer_arithmetic():
    near = [k * k + d for k in (1, 2, 3, 4095, 2**20 + 7, 2**25 - 1, 67_108_863) for d in (-1, 0, 1)]
    squares = near + (keyed_uint16(1, "exact.root", count=4000).long() ** 3).tolist()

    spare = [torch.empty(len(squares), dtype=torch.float64) for _ in range(2)]
    roots = exact._whole_root(torch.tensor(squares, dtype=torch.float64), *spare)

    assert roots.tolist() == [math.isqrt(square) for square in squares]


def test_adam_moves_by_the_rate_against_a_steady_gradient():
    adam = exact.Adam(torch.zeros(3), 0.01, 20, gradient_bits=22, state_bits=16)
    values = torch.zeros(3, dtype=torch.float64)
    for _ in range(20):
        adam.update_(values, torch.tensor([0.5, -0.001, 0.0], dtype=torch.float64))

    assert torch.equal(values, exact.on_grid(values, 16))
    # From .01 down to .0005: half as far as at a rate that does not fall, and half a step more.
    assert values.tolist() == pytest.approx([-0.105, 0.105, 0.0], abs=0.002)


def test_a_rate_whose_steps_would_not_be_exact_is_refused():
    with pytest.raises(RoundError, match="steps of Adam may reach"):
        exact.Adam(torch.zeros(1), 1e6, 3, gradient_bits=22, state_bits=16)


def test_products_beyond_the_lighter_carrier_are_those_of_integers():
    drawn = (keyed_uint16(7, "exact.product", str(k), count=4096).long().reshape(64, 64) - 2**15 for k in range(2))
    a, b = drawn
    steps = float((a.abs() @ b.abs()).max())

    assert steps > 2**24
    assert torch.equal(exact.matmul(a.float(), b.float(), steps).long(), a @ b)
    with pytest.raises(RoundError, match="product may reach"):
        exact.matmul(a.float(), b.float(), 2.0**53)


@pytest.mark.parametrize("law", LAWS)
def test_answers_of_neurons_are_within_what_is_read(law):
    stage = Stage(rank=2, neurons=3, law=law)
    codes = torch.full((1, 4, stage.features), 2**20)

    u, _ = stage.samples(codes).read(torch.full((1, 3, 2), 9.0, dtype=torch.float64))

    assert float(u.abs().max()) <= 8.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": 2.0**30}, "losses may reach"),
        ({"weight": 1 / 3}, "weight are not float64 multiples"),
        ({"target": 1 / 3}, "target are not float64 multiples"),
    ],
)
def test_samples_whose_sums_might_not_be_exact_are_refused(change, message):
    _, samples = made_up(Stage(4))
    ((name, factor),) = change.items()

    with pytest.raises(RoundError, match=message):
        replace(samples, **{name: getattr(samples, name) * factor})


@pytest.mark.parametrize(("factor", "message"), [(1 / 3, "base are not float64 multiples"), (2.0**4, "closed form is")])
def test_logits_of_the_closed_form_that_are_too_large_or_on_no_grid_are_refused(factor, message):
    asked = made_up(Stage(4))[1].asked

    with pytest.raises(RoundError, match=message):
        AskedSamples(asked.reads, asked.nobody, asked.base * factor)
