"""One engine that the nodes of a fleet share: each of them pays for itself, and is what it would be alone."""

import numpy as np
import pytest
import torch
from reram_fleet.v1.types_pb2 import ClosedFormHead, LoraShape, SharedLora, SubjectAdapter

from edge_node.backbones.filters import FilterBank
from edge_node.backbones.liquid import Liquid
from edge_node.backbones.reservoir import Reservoir
from edge_node.errors import EngineError
from edge_node.recognition.engine import Engine
from hwmodel import Cost, Phase, load_preset
from tests.example_task.made_up_patterns import PATTERNS

from .test_chip_figures import CODING, MadeUpTask, readings
from .test_filter_bank import photos
from .voices import voices

QUIET = load_preset("180nm-1t1r")
#: Reads differ by their number, so a regenerated chip must go on counting.
NOISY = QUIET.with_values({"cell.read_noise_us": 0.4})
NODES = [f"n{node}" for node in range(5)]
TASKS = {
    "filters": (MadeUpTask(FilterBank.program, tuple(photos(6))), photos(3, seed=9)),
    "reservoir": (MadeUpTask(lambda *args: Reservoir.program(CODING, *args), tuple(readings(6))), readings(2)),
    "liquid": (MadeUpTask(Liquid.program, tuple(v[:1600] for v in voices(6))), [v[:1000] for v in voices(2)]),
}


def built(task, preset=QUIET, nodes=NODES, **options):
    return Engine.build(task, preset, 5, nodes, **options)


@pytest.fixture(scope="module")
def patterns():
    return built(PATTERNS, chunk=2)


def adapters_of(codes):
    return [
        SubjectAdapter(subject_tag=tag, count=2, code_sum=codes[2 * k : 2 * k + 2].sum(dim=0).tolist())
        for k, tag in enumerate("ab")
    ]


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("preset", [QUIET, NOISY], ids=["quiet", "noisy"])
def test_chips_are_the_same_integers_and_cost_the_same_however_they_are_chunked(kind, preset):
    task, shown = TASKS[kind]
    engines = [built(task, preset, chunk=chunk) for chunk in (1, 2, 50)]

    for capture in (
        lambda e: e.capture(shown),
        lambda e: e.capture(shown[:1], nodes=[3, 1]),
        lambda e: e.capture(shown),
    ):
        first, *others = (capture(engine) for engine in engines)
        assert all(torch.equal(first, other) for other in others)
    first, *others = engines
    for other in others:
        for node in range(len(NODES)):
            assert other.ledger.totals(node) == first.ledger.totals(node)
            assert other.network(node) == first.network(node)
            assert all(map(torch.equal, other.public_codes(node), first.public_codes(node)))
        assert torch.equal(other.cell_writes, first.cell_writes)
        assert torch.equal(other.wear, first.wear)


def test_a_node_among_many_is_the_node_alone():
    patterns = built(PATTERNS, chunk=2)
    alone = built(PATTERNS, nodes=NODES[3:4])
    shown = next(iter(PATTERNS.load_people().values())).test[:2]
    before = [patterns.ledger.totals(node) for node in range(len(NODES))]

    codes = patterns.capture(shown, nodes=[3])

    assert torch.equal(codes, alone.capture(shown))
    assert patterns.ledger.totals(3) == alone.ledger.totals()
    assert [patterns.ledger.totals(node) for node in (0, 1, 2, 4)] == [before[node] for node in (0, 1, 2, 4)]
    assert patterns.chip_figures(3) == alone.chip_figures(0)


def test_cells_of_a_large_fleet_are_not_kept_and_never_more_than_a_chunk():
    engine, programmed = None, []

    def program(preset, seed, nodes, ledger):
        programmed.append(list(nodes))
        return PATTERNS.program(preset, seed, nodes, ledger)

    task = MadeUpTask(program, tuple(sample for p in PATTERNS.public_samples().values() for sample in p)[:6])
    engine = built(task, chunk=2)

    assert programmed == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    assert engine.ledger.parts == []
    sample = next(iter(PATTERNS.load_people().values())).test[:1]
    for nodes in ([3], [4], [3], [0, 1], [3]):
        engine.capture(sample, nodes=nodes)
    assert programmed[3:] == [["n3"], ["n4"], ["n0", "n1"], ["n3"]]


def test_progress_is_told_after_every_chunk():
    told = []

    built(PATTERNS, chunk=2, progress=lambda done, nodes: told.append((done, nodes)))

    assert told == [(2, 5), (4, 5), (5, 5)]


def test_some_nodes_answer_as_they_do_among_all(patterns):
    shown = [sample for p in list(PATTERNS.load_people().values())[:2] for sample in p.train[:2]]
    codes = patterns.capture(shown)
    for node in range(1, 5):
        for adapter in adapters_of(codes[node]):
            patterns.set_subject(node, adapter)
    shape = LoraShape(features=patterns.features, rank=2, alpha=2.0, a_seed=1, scale_bits=16)
    patterns.set_lora(2, SharedLora(shape=shape, rows=[{"subject_tag": "a", "codes": [9000, -9000]}]))
    head = np.random.default_rng(1).integers(-500, 500, (patterns.features, 2), np.int32)
    message = ClosedFormHead(
        subject_tags=["a", "b"], features=patterns.features, codes=head.tobytes(), scale_bits=12, threshold=9000
    )
    for node in (2, 4):
        patterns.set_head(node, message)
    every = patterns.identify(codes)
    before = [patterns.ledger.totals(node) for node in range(len(NODES))]

    some = patterns.identify(codes[[4, 0, 2]], Phase.VERIFY, [4, 0, 2])

    assert some.best_tag == tuple(every.best_tag[node] for node in (4, 0, 2))
    assert some.best_tag_subject_only == tuple(every.best_tag_subject_only[node] for node in (4, 0, 2))
    torch.testing.assert_close(some.score, every.score[[4, 0, 2]], rtol=1e-9, atol=0)
    assert torch.equal(some.accepted, every.accepted[[4, 0, 2]])
    spent = [
        {phase for phase, cost in patterns.ledger.totals(node).items() if cost != before[node][phase]}
        for node in range(len(NODES))
    ]
    assert spent == [{Phase.VERIFY}, set(), {Phase.VERIFY}, set(), {Phase.VERIFY}]


def test_saved_costs_are_restored_node_by_node():
    saved = [{Phase.PROGRAM: Cost(1.0, 2.0, 0, 3), Phase.RADIO: Cost(bytes=node)} for node in range(5)]
    saved[1] = {Phase.RADIO: Cost(bytes=7)}

    engine = built(PATTERNS, chunk=2, saved_costs=saved)

    fresh = built(PATTERNS, chunk=2)
    for node in range(5):
        spent, first = engine.ledger.totals(node), fresh.ledger.totals(node)
        assert spent[Phase.PROGRAM] == (first[Phase.PROGRAM] if node == 1 else Cost(1.0, 2.0, 0, 3))
        assert spent[Phase.RADIO].bytes == (7 if node == 1 else node)
        assert spent[Phase.INFER] == first[Phase.INFER]
    with pytest.raises(EngineError, match="2 saved costs for 5 nodes"):
        built(PATTERNS, saved_costs=saved[:2])


@pytest.mark.parametrize(
    ("nodes", "said"), [([5], "no node 5"), ([-1], "no node -1"), ([], "at least one"), ([1, 1], "none twice")]
)
def test_nodes_that_do_not_exist_or_come_twice_are_refused(patterns, nodes, said):
    codes = torch.zeros(len(nodes), 1, patterns.features, dtype=torch.int32)

    with pytest.raises(EngineError, match=said):
        patterns.identify(codes, nodes=nodes)
    with pytest.raises(EngineError, match=said):
        patterns.capture([], nodes=nodes)


def test_a_node_that_is_switched_off_goes_on_as_a_device_that_starts_again():
    shared, device = built(PATTERNS, NOISY, chunk=2), built(PATTERNS, NOISY, NODES[3:4])
    shown = next(iter(PATTERNS.load_people().values())).test[:2]
    codes = shared.capture(shown, nodes=[3])
    device.capture(shown)
    for adapter in adapters_of(codes[0]):
        shared.set_subject(3, adapter)
    saved = shared.ledger.totals(3)
    # Between the last time that counters were saved and the end.
    shared.charge_radio(3, 1000)
    others = [shared.ledger.totals(node) for node in range(3)]

    shared.restart(3, saved)

    again = built(PATTERNS, NOISY, NODES[3:4], saved_costs=[saved])
    assert shared.active_subjects(3) == []
    assert shared.ledger.totals(3)[Phase.PROGRAM] == again.ledger.totals()[Phase.PROGRAM]
    assert shared.ledger.totals(3)[Phase.RADIO] == Cost()
    assert shared.ledger.totals(3)[Phase.INFER].energy_j == pytest.approx(again.ledger.totals()[Phase.INFER].energy_j)
    assert torch.equal(shared.capture(shown, nodes=[3]), again.capture(shown))
    assert not torch.equal(shared.capture(shown, nodes=[3]), codes)
    assert [shared.ledger.totals(node) for node in range(3)] == others
    shared.restart(1, {Phase.RADIO: Cost(bytes=3)})
    assert shared.ledger.totals(1) == others[1] | {Phase.RADIO: Cost(bytes=3)}


def test_what_nodes_hold_alike_is_in_memory_once_and_until_the_last_drops_it():
    engine = built(PATTERNS, chunk=2)
    adapters = adapters_of(torch.ones(4, engine.features, dtype=torch.int32))
    shape = LoraShape(features=engine.features, rank=2, alpha=2.0, a_seed=1, scale_bits=16)
    lora = SharedLora(shape=shape, rows=[{"subject_tag": tag, "codes": [1, 2]} for tag in "ab"])
    head = ClosedFormHead(
        subject_tags=["a", "b"], features=engine.features, codes=bytes(8 * engine.features), scale_bits=12, threshold=9
    )
    for node in range(len(NODES)):
        for adapter in adapters:
            engine.set_subject(node, adapter)
        engine.set_lora(node, lora)
        engine.set_head(node, head)
    pool = engine._pool
    assert len(pool) == 4
    assert len({id(bank.head) for bank in engine._banks}) == 1

    for node in range(len(NODES)):
        engine.drop_subjects(node, ["a"])
        # What the others still hold, and what is left on this node.
        assert len(pool) == (6 if node < len(NODES) - 1 else 3)
    for node in range(len(NODES)):
        assert [subject.subject_tag for subject in engine.active_subjects(node)] == ["b"]
        assert list(engine.active_head(node).subject_tags) == ["b"]
        assert [row.subject_tag for row in engine.active_lora(node).rows] == ["b"]
        engine.drop_subjects(node, ["b"])
    assert len(pool) == 0
