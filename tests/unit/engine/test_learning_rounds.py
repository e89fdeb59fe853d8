import pytest
import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    JobTicket,
    LoraShape,
)

from edge_node.errors import AdapterError, RoundError
from edge_node.recognition.engine import RoundRequest
from edge_node.recognition.lora.output_layer import frozen_a
from edge_node.recognition.lora.stage import Stage, StageSamples
from edge_node.recognition.training import neggrad
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import AskedSamples, LabelledSamples
from fleet.coordinator.learning.lora_state import initial_state
from hwmodel import Phase
from tests.lora_states import arrays_with, rows_of, weights_of

RANK = 16


def ticket_of(engine, kind, tags, forget=()):
    shape = LoraShape(features=engine.features, rank=RANK, alpha=RANK, a_seed=9, scale_bits=16)
    return JobTicket(job_id="j", round=1, kind=kind, subject_tags=tags, forget_tags=forget, lora=shape)


def initial(tags, rank=RANK):
    return initial_state(tags, LoraShape(rank=rank), None).encode()


@pytest.fixture
def tags(device, adapters):
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    return sorted(adapters)


@pytest.fixture
def samples(captured, tags):
    """The first three people's samples are on this node; the fourth's are not."""
    return {tag: captured[tag][0] for tag in tags[:3]}


@pytest.fixture
def trained(device, tags, samples):
    ticket = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags)
    return device.run_rounds([RoundRequest(0, ticket, initial(tags), samples, {})])[0]


def test_training_lowers_the_loss_and_keeps_accuracy(trained):
    assert trained.metrics["loss_after"] < trained.metrics["loss_before"]
    assert trained.metrics["accuracy_after"] >= trained.metrics["accuracy_before"] >= 0.9
    assert trained.num_examples == 3 * 30 + 90


def test_row_of_a_person_unknown_here_goes_back_with_weight_0(device, tags, samples):
    state = arrays_with(
        tags, torch.randn(4, RANK, generator=torch.Generator().manual_seed(1)).clamp(-1.9, 1.9)
    ).encode()
    result = device.run_rounds(
        [RoundRequest(0, ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags), state, samples, {})]
    )[0]
    assert weights_of(result.state) == [1, 1, 1, 0]
    before, after = rows_of(state), rows_of(result.state)
    assert not after[3].any()
    assert all(not torch.equal(after[k], before[k]) for k in range(3))


def test_round_is_a_pure_function_of_its_input(device, tags, samples, trained):
    ticket = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags)
    backwards = dict(reversed(samples.items()))
    again = device.run_rounds([RoundRequest(0, ticket, initial(tags), backwards, {})])[0]
    assert again.state.SerializeToString(deterministic=True) == trained.state.SerializeToString(deterministic=True)
    assert again.metrics == trained.metrics


def test_n_nodes_learn_what_n_single_nodes_do(fleet, device, adapters, captured, tags, samples, trained):
    ticket = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags)
    for node in (0, 1):
        for adapter in adapters.values():
            fleet.set_subject(node, adapter)
    one_person = {tags[3]: captured[tags[3]][0]}
    many = fleet.run_rounds(
        [
            RoundRequest(0, ticket, initial(tags), one_person, {}),
            RoundRequest(1, ticket, initial(tags), samples, {}),
        ]
    )
    assert many[1].state == trained.state
    assert [r.num_examples for r in many] == [30 + 90, 3 * 30 + 90]


def test_unlearning_brings_forgotten_samples_below_the_hinge_and_keeps_the_rest(device, tags, samples, trained):
    gone, kept = tags[0], {tag: samples[tag] for tag in tags[1:3]}
    hidden = {gone: samples[gone]}
    # Rows that take the forgotten person for somebody else are what repair is for: lift all of them.
    b = lifted(device, rows_of(trained.state), samples[gone])
    ticket = ticket_of(device, LEARNING_KIND_UNLEARN_LORA, tags, [gone])
    device.drop_subjects(0, [gone])
    state = arrays_with(tags, b).encode()
    rounds = []
    for _ in range(3):
        rounds.append(device.run_rounds([RoundRequest(0, ticket, state, kept, hidden)])[0])
        state = arrays_with(tags, rows_of(rounds[-1].state)).encode()
    first, last = rounds[0].metrics, rounds[-1].metrics
    assert first["forget_above_hinge_before"] >= 0.5 * first["forget_samples_before"] > 0
    assert last["forget_above_hinge_after"] <= 0.05 * last["forget_samples_after"]
    assert last["forget_accepted_after"] == 0.0
    assert rounds[-1].metrics["accuracy_after"] >= 0.95
    assert not rows_of(state)[0].any()


def lifted(engine, b, codes):
    """Change B so that these samples' logits rise by about 4 on every row."""
    shape = ticket_of(engine, LEARNING_KIND_TRAIN_LORA, []).lora
    chip = engine._calibration.whitening.chip(0)
    a = frozen_a(shape.a_seed, shape.rank, shape.features)
    u = (chip.mapped(chip.of(codes), a) * (shape.alpha / shape.rank)).mean(dim=0)
    return b + 4.0 * u / u.square().sum()


def test_node_without_forgotten_samples_does_not_undo_what_others_repair(device, tags, samples, trained):
    ticket = ticket_of(device, LEARNING_KIND_UNLEARN_LORA, tags, tags[:1])
    kept = {tag: samples[tag] for tag in tags[1:3]}
    state = arrays_with(tags, rows_of(trained.state)).encode()
    result = device.run_rounds([RoundRequest(0, ticket, state, kept, {})])[0]
    assert weights_of(result.state) == [1, 0, 0, 0]
    assert not rows_of(result.state).any()


def test_rows_on_which_nothing_forgotten_stands_out_are_left_alone():
    start = Factors(torch.zeros(1, 0, 3, dtype=torch.float64), torch.ones(1, 2, 3, dtype=torch.float64))
    base = torch.tensor([[[-4.0, -3.0]]])
    hidden = asked(torch.ones(1, 1, 3), base)
    kept = LabelledSamples(asked(torch.ones(1, 4, 3), torch.zeros(1, 4, 2)), torch.zeros(1, 4, 2), torch.ones(1, 4, 2))
    present, repaired = torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    after = neggrad.unlearn(start, kept, hidden, present, repaired)
    assert torch.equal(after.rows[0, 0], start.rows[0, 0])
    assert bool((hidden.logits(after) <= neggrad.HINGE).all())


def asked(u, base):
    """Return samples of a LoRA on the output layer alone."""
    projected = u[:, :, None]
    return AskedSamples(StageSamples.of(Stage(3), projected, projected[..., :0]), torch.zeros(1, 1, 0), base)


def test_evaluation_changes_nothing_and_is_charged_as_verification(device, tags, samples, trained):
    mark = device.ledger.mark()
    ticket = ticket_of(device, LEARNING_KIND_EVALUATE_QUALITY, tags)
    state = arrays_with(tags, rows_of(trained.state)).encode()
    result = device.run_rounds([RoundRequest(0, ticket, state, samples, {})])[0]
    spent = device.ledger.since(mark)
    assert spent[Phase.VERIFY].energy_j > 0
    assert spent[Phase.TRAIN].energy_j == 0
    assert result.metrics["accuracy_after"] == pytest.approx(trained.metrics["accuracy_after"])
    assert result.state == state


def test_training_is_charged_and_writes_no_cell(device, tags, samples):
    mark = device.ledger.mark()
    device.run_rounds([RoundRequest(0, ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags), initial(tags), samples, {})])[
        0
    ]
    spent = device.ledger.since(mark)[Phase.TRAIN]
    assert spent.energy_j > 0
    assert spent.cell_writes == 0


def test_node_that_holds_nobody_still_answers(device, tags):
    result = device.run_rounds(
        [RoundRequest(0, ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags), initial(tags), {}, {})]
    )[0]
    assert result.num_examples == 90
    assert set(weights_of(result.state)) == {0}


def test_requests_that_cannot_be_run_are_refused(device, tags, samples):
    ticket, state = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags), initial(tags)
    with pytest.raises(RoundError, match="other tags"):
        device.run_rounds([RoundRequest(0, ticket, initial(tags[:2]), samples, {})])[0]
    with pytest.raises(RoundError, match="of 16"):
        device.run_rounds([RoundRequest(0, ticket, initial(tags, 3), samples, {})])[0]
    with pytest.raises(RoundError, match="kind"):
        device.run_rounds([RoundRequest(0, ticket_of(device, 77, tags), state, samples, {})])[0]
    with pytest.raises(RoundError, match="integer codes"):
        device.run_rounds([RoundRequest(0, ticket, state, {tags[0]: torch.zeros(2, 3)}, {})])[0]
    broken = initial(tags)
    broken.row_weights = b"\2" * len(broken.row_weights)
    with pytest.raises(RoundError, match="0 or 1"):
        device.run_rounds([RoundRequest(0, ticket, broken, samples, {})])[0]
    foreign = ticket_of(device, LEARNING_KIND_TRAIN_LORA, tags)
    foreign.lora.features = 3
    with pytest.raises(AdapterError, match="features"):
        device.run_rounds([RoundRequest(0, foreign, state, samples, {})])[0]


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_training_of_a_node_alone_and_in_a_batch_is_the_same_to_the_bit(fleet, device, adapters, captured, tags, rows):
    named = tags[:rows]
    ticket = ticket_of(device, LEARNING_KIND_TRAIN_LORA, named)
    samples = {tag: captured[tag][0] for tag in named}
    alone = device.run_rounds([RoundRequest(0, ticket, initial(named), samples, {})])[0]
    for node in range(3):
        for adapter in adapters.values():
            fleet.set_subject(node, adapter)
    # More samples on a neighbour: the batch is longer than this node's own.
    more = {tag: torch.cat([codes, codes, captured[tag][1]]) for tag, codes in samples.items()}
    many = fleet.run_rounds(
        [RoundRequest(node, ticket, initial(named), samples if node == 1 else more, {}) for node in range(3)]
    )
    assert many[1].state.SerializeToString(deterministic=True) == alone.state.SerializeToString(deterministic=True)
