"""Chips whose cells age while a node runs, and what a calibration on the public samples makes good of it."""

import pytest
import torch

from edge_node.errors import EngineError
from edge_node.recognition.engine import Engine
from hwmodel import Cost, Phase, load_preset
from tests.example_task.made_up_patterns import PATTERNS

NODES = ["n0", "n1", "n2"]
DAY_S = 86_400.0
NOISY = load_preset("180nm-1t1r").with_values({"cell.read_noise_us": 0.4})
AGEING = NOISY.model_copy(update={"models": NOISY.models.model_copy(update={"relaxation": "cmo"})})
SHOWN = next(iter(PATTERNS.load_people().values())).test[:2]


class Age:
    """Age of the chips of a test."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def built(age, preset=AGEING, nodes=NODES, **options):
    return Engine.build(PATTERNS, preset, 5, nodes, age_s=age, **options)


def state(engine, node):
    codes, _ = engine.public_codes(node)
    return [codes, engine.accept_threshold[node]]


def test_an_aged_chip_gives_the_same_integers_however_a_fleet_is_chunked():
    ages = [Age() for _ in range(2)]
    engines = [built(age, chunk=chunk) for age, chunk in zip(ages, (1, 50), strict=True)]
    young = [engine.capture(SHOWN) for engine in engines]
    for age in ages:
        age.seconds = 30 * DAY_S

    old = [engine.capture(SHOWN) for engine in engines]
    (alone,) = (engine.capture(SHOWN, nodes=[1]) for engine in engines[:1])
    (among,) = (engine.capture(SHOWN)[1:2] for engine in engines[1:])

    assert torch.equal(*young)
    assert torch.equal(*old)
    assert torch.equal(alone, among)
    assert not torch.equal(young[0], old[0])


def test_cells_that_do_not_relax_read_the_same_at_any_age():
    age = Age()
    still, moved = built(Age(), NOISY), built(age, NOISY)
    age.seconds = 1e9

    assert torch.equal(still.capture(SHOWN), moved.capture(SHOWN))


def test_calibration_is_that_of_a_chip_that_starts_at_this_age_and_costs_the_reads():
    age = Age()
    engine = built(age)
    before, (first, at_first, last) = engine.ledger.totals(1), (state(engine, node) for node in range(3))
    age.seconds = 30 * DAY_S
    # Reads differ by their number, so the one that starts now has read as much.
    starting = built(Age(30 * DAY_S))
    starting.calibrate(1)

    engine.calibrate(1)

    assert all(map(torch.equal, state(engine, 1), state(starting, 1)))
    assert not torch.equal(state(engine, 1)[0], at_first[0])
    assert all(map(torch.equal, state(engine, 0) + state(engine, 2), first + last))
    spent = engine.ledger.totals(1)
    assert {phase for phase in Phase if spent[phase] != before[phase]} == {Phase.INFER}
    assert spent[Phase.INFER].energy_j == pytest.approx(2 * before[Phase.INFER].energy_j)
    assert engine.calibrations.tolist() == [0, 1, 0]
    assert torch.equal(engine.capture(SHOWN, nodes=[1]), starting.capture(SHOWN, nodes=[1]))


def test_a_node_that_is_switched_off_starts_again_at_the_age_of_its_chip():
    age = Age()
    shared = built(age)
    shared.calibrate(2)
    saved = shared.ledger.totals(1)
    age.seconds = 30 * DAY_S

    shared.restart(1, saved)

    device = built(age, nodes=NODES[1:2], saved_costs=[saved])
    assert all(map(torch.equal, state(shared, 1), state(device, 0)))
    assert torch.equal(shared.capture(SHOWN, nodes=[1]), device.capture(SHOWN))
    assert shared.ledger.totals(1)[Phase.INFER].energy_j == pytest.approx(device.ledger.totals()[Phase.INFER].energy_j)


def test_a_node_that_was_calibrated_starts_again_as_if_it_had_not_been():
    shared = built(Age())
    saved = shared.ledger.totals(1)
    shared.calibrate(1)

    shared.restart(1, saved)

    device = built(Age(), nodes=NODES[1:2], saved_costs=[saved])
    assert all(map(torch.equal, state(shared, 1), state(device, 0)))
    assert torch.equal(shared.capture(SHOWN, nodes=[1]), device.capture(SHOWN))


def test_a_node_that_is_not_there_is_refused_and_nothing_is_charged():
    engine = built(Age())

    with pytest.raises(EngineError, match="no node 3"):
        engine.calibrate(3)

    assert all(engine.ledger.totals(node)[Phase.TRAIN] == Cost() for node in range(3))
    assert engine.calibrations.tolist() == [0, 0, 0]
