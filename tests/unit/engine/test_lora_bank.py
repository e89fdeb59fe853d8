import dataclasses
import math
from functools import partial

import pytest
import torch
from torch import nn

from edge_node.errors import AdapterBaseError, AdapterError, AdapterShapeError, AdapterSpecError, AdapterValueError
from edge_node.recognition.lora.frozen_base import FrozenBase
from edge_node.recognition.lora.output_layer import frozen_factor
from fleet.lab.lora.adapter import MAX_RANK, LoraAdapter, LoraKind, LoraSpec, cohort_name
from fleet.lab.lora.bank import LoraBank
from fleet.lab.lora.storage import StoredMatrix
from hwmodel import Cost, EnergyLedger, Phase, Precision, cost, program

SIZES = {"fc1": (12, 20), "fc2": (6, 12)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def base_of(seed=1, task="faces"):
    return FrozenBase.of(task, {name: draw(*size, seed=seed) for name, size in SIZES.items()})


BASE = base_of()


def adapter_of(name, *, seed=0, base=BASE, **fields):
    fields = {"kind": LoraKind.COHORT, "rank": 4, "alpha": 8.0, "layers": tuple(base.layers), **fields}
    spec = LoraSpec(name=name, task=base.task, base_digest=base.digest, **fields)
    shapes = {layer: base.layers[layer] for layer in spec.layers}
    b = {n: 0.1 * draw(s.outputs, spec.rank, seed=seed) for n, s in shapes.items()}
    a = {n: 0.1 * draw(spec.rank, s.inputs, seed=seed + 1) for n, s in shapes.items()}
    return LoraAdapter.build(spec, base, b=b, a=a if spec.a_seed is None else None)


def bank_of(preset, nodes=1):
    ledger = EnergyLedger(nodes)
    return LoraBank(BASE, preset, ledger), ledger


def spent(ledger, node=0):
    return {phase: paid for phase, paid in ledger.totals(node).items() if paid != Cost()}


# Storage


def test_int8_codes_are_rounded_half_to_even_against_the_largest_of_the_row():
    stored = StoredMatrix.of(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]), Precision.INT8)
    assert stored.codes.tolist() == [[127, 0, 2, 2, 0, -2]]
    assert stored.scales.tolist() == [1.0]


def test_a_row_of_int8_codes_depends_on_that_row_only():
    values = draw(3, 8)
    louder = values.clone()
    louder[0] *= 1000
    before, after = StoredMatrix.of(values, Precision.INT8), StoredMatrix.of(louder, Precision.INT8)
    assert torch.equal(before.codes[1:], after.codes[1:])
    assert torch.equal(before.scales[1:], after.scales[1:])
    assert after.scales[0] > 900 * before.scales[0]


def test_a_row_too_small_for_its_scale_is_zero():
    stored = StoredMatrix.of(torch.tensor([[1e-37, -1e-37], [1e-35, 0.0]]), Precision.INT8)
    assert stored.codes.tolist() == [[0, 0], [127, 0]]
    assert stored.scales[0] == 0


def test_fp16_is_rounded_once():
    just_above_half_way = torch.tensor([[1 + 2**-11 + 2**-40]], dtype=torch.float64)
    assert StoredMatrix.of(just_above_half_way, Precision.FP16).values().item() == 1 + 2**-10


@pytest.mark.parametrize(("storage", "expected"), [("int8", 6 * 4 + 6 * 4), ("fp16", 48), ("fp32", 96)])
def test_bytes_of_a_matrix_count_its_scales(storage, expected):
    stored = StoredMatrix.of(draw(6, 4), Precision(storage))
    assert stored.byte_count == expected == len(stored.to_bytes())


@pytest.mark.parametrize("storage", Precision)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_not_stored(storage, value):
    values = draw(2, 3)
    values[1, 2] = value
    with pytest.raises(AdapterValueError, match="1 of 6 numbers are NaN or infinite"):
        StoredMatrix.of(values, storage)


@pytest.mark.parametrize(("storage", "value"), [("fp16", 70_000.0), ("fp32", 1e39), ("int8", 1e41)])
def test_values_beyond_the_format_are_not_stored(storage, value):
    with pytest.raises(AdapterValueError, match=f"does not fit into {storage}"):
        StoredMatrix.of(torch.tensor([[value]], dtype=torch.float64), Precision(storage))


# What an adapter is


def test_frozen_a_has_rows_of_length_one_and_is_another_for_each_layer_and_seed():
    a = frozen_factor(7, "fc1", 4, 20)
    torch.testing.assert_close(a.norm(dim=1), torch.ones(4, dtype=torch.float64), rtol=1e-7, atol=0)
    assert torch.equal(a, frozen_factor(7, "fc1", 4, 20))
    assert not torch.equal(a, frozen_factor(8, "fc1", 4, 20))
    assert not torch.equal(a, frozen_factor(7, "fc2", 4, 20))


@pytest.mark.parametrize("storage", Precision)
@pytest.mark.parametrize("a_seed", [None, 3])
def test_sram_of_an_adapter_is_what_its_spec_says_and_a_frozen_a_takes_none(storage, a_seed):
    adapter = adapter_of("x", storage=storage, a_seed=a_seed)
    stored = [*adapter.b.values(), *([] if a_seed is not None else adapter.a.values())]
    assert adapter.byte_count == sum(len(m.to_bytes()) for m in stored) == adapter.spec.byte_count(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "y"},
        {"kind": LoraKind.SUBJECT},
        {"rank": 5},
        {"alpha": 8.5},
        {"storage": Precision.FP16},
        {"a_seed": 3},
        {"a_seed": 4},
        {"layers": ("fc1",)},
        {"seed": 9},
        {"base": base_of(2)},
        {"base": base_of(task="speakers")},
    ],
    ids=str,
)
def test_digest_changes_with_all_that_acts(change):
    assert adapter_of(**{"name": "x", **change}).digest != adapter_of("x").digest


def test_digest_tells_apart_the_same_numbers_at_another_layer():
    twins = FrozenBase.of("faces", {"left": draw(4, 4), "right": draw(4, 4)})
    left, right = (adapter_of("x", base=twins, layers=(name,)) for name in ("left", "right"))
    assert left.b["left"].to_bytes() == right.b["right"].to_bytes()
    assert left.digest != right.digest


def test_digest_is_the_same_at_a_later_generation():
    assert adapter_of("x", built_at_generation=9).digest == adapter_of("x").digest


def test_base_digest_is_of_the_weights_and_the_names():
    weights = {name: draw(*size, seed=1) for name, size in SIZES.items()}
    assert FrozenBase.of("faces", dict(reversed(weights.items()))).digest == BASE.digest
    moved = {**weights, "fc2": torch.nextafter(weights["fc2"], torch.tensor(9.0))}
    assert FrozenBase.of("faces", moved).digest != BASE.digest
    assert FrozenBase.of("faces", {"a": weights["fc1"], "fc2": weights["fc2"]}).digest != BASE.digest


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"name": "../x"}, AdapterSpecError, "cannot name an adapter"),
        ({"alpha": 0.0}, AdapterSpecError, "alpha above 0, got 0.0"),
        ({"alpha": math.nan}, AdapterSpecError, "alpha above 0, got nan"),
        ({"a_seed": 2**64}, AdapterSpecError, "a_seed has 64 bits"),
        ({"built_at_generation": -1}, AdapterSpecError, "a generation is 0"),
        ({"rank": 0}, AdapterShapeError, "expected rank 1 to 256, got 0"),
        ({"rank": MAX_RANK + 1}, AdapterShapeError, "expected rank 1 to 256, got 257"),
        ({"rank": 21}, AdapterShapeError, "rank 21 is larger than both sides of layer 'fc1' .12 x 20."),
        ({"layers": ()}, AdapterShapeError, "sorted and each once"),
        ({"layers": ("fc2", "fc1")}, AdapterShapeError, "sorted and each once"),
    ],
    ids=str,
)
def test_impossible_adapters_are_refused(change, error, reason):
    with pytest.raises(error, match=reason):
        adapter_of(**{"name": "x", **change})


def test_an_adapter_a_hundred_times_larger_than_its_layer_is_refused():
    ordinary = adapter_of("x", layers=("fc1",))
    factors = {"a": ordinary.a["fc1"].values(), "b": ordinary.b["fc1"].values()}
    norm = 2 * factors["a"].norm() * factors["b"].norm() / BASE.layers["fc1"].norm

    def scaled(by):
        b = {"fc1": by / norm * factors["b"]}
        return LoraAdapter.build(ordinary.spec, BASE, a={"fc1": factors["a"]}, b=b)

    assert scaled(99).byte_count == ordinary.byte_count
    with pytest.raises(AdapterValueError, match="the change to layer 'fc1' has norm up to"):
        scaled(101)


# The bank


@pytest.mark.parametrize("storage", Precision)
def test_a_layer_gets_the_sum_of_its_adapters(preset, storage):
    adapters = [
        adapter_of("calibration", seed=1, kind=LoraKind.CALIBRATION, rank=2, storage=storage),
        adapter_of(cohort_name(3), seed=2, rank=4, a_seed=11, storage=storage),
        adapter_of("subject", seed=3, kind=LoraKind.SUBJECT, rank=1, layers=("fc1",), storage=storage),
    ]
    bank, _ = bank_of(preset)
    for adapter in adapters:
        bank.install(adapter)
    x = draw(1, 5, 20, seed=4).double()
    expected = torch.zeros(1, 5, 12, dtype=torch.float64)
    for adapter in adapters:
        a, b = adapter.factors("fc1", 20)
        expected += adapter.spec.alpha / adapter.spec.rank * (x @ a.T) @ b.T
    torch.testing.assert_close(bank.forward("fc1", x), expected, rtol=1e-12, atol=1e-12)
    a, b = bank.composed("fc1")
    torch.testing.assert_close((x @ a.T) @ b.T, expected, rtol=1e-12, atol=1e-12)
    assert bank.composed("fc2")[0].shape == (6, 12)


def test_removing_an_adapter_gives_bitwise_the_bank_that_never_had_it(preset):
    kept = [adapter_of(cohort_name(k), seed=k) for k in range(3)]
    never, _ = bank_of(preset)
    for adapter in kept:
        never.install(adapter)
    bank, _ = bank_of(preset)
    for adapter in (kept[2], adapter_of("a-person", seed=8), kept[0], adapter_of("z-person", seed=9), kept[1]):
        bank.install(adapter)
    x = draw(1, 7, 20, seed=5)
    assert bank.digest() != never.digest()
    assert not torch.equal(bank.forward("fc1", x), never.forward("fc1", x))

    assert (bank.remove("z-person"), bank.remove("a-person")) == (1, 1)

    assert bank.digest() == never.digest()
    for layer, size in SIZES.items():
        for mine, other in zip(bank.composed(layer), never.composed(layer), strict=True):
            assert torch.equal(mine, other)
        x = draw(1, 7, size[1], seed=6)
        assert torch.equal(bank.forward(layer, x), never.forward(layer, x))


def test_a_batch_of_nodes_equals_single_nodes(preset):
    shared = adapter_of(cohort_name(0), seed=1)
    own = [adapter_of("calibration", seed=10 + n, kind=LoraKind.CALIBRATION) for n in range(6)]
    batch, _ = bank_of(preset, nodes=6)
    batch.install(shared, nodes=range(1, 6))
    for node in (2, 3, 4):
        batch.install(own[node], nodes=[node])
    x = draw(6, 9, 20, seed=2).double()
    together = batch.forward("fc1", x)
    assert not bool(together[0].any())
    for node in range(6):
        alone, _ = bank_of(preset)
        for adapter in batch.adapters(node):
            alone.install(adapter)
        torch.testing.assert_close(together[node], alone.forward("fc1", x[node : node + 1])[0], rtol=1e-12, atol=1e-12)


def test_gradients_reach_the_vectors_of_every_node(preset):
    bank, _ = bank_of(preset, nodes=3)
    bank.install(adapter_of("x"), nodes=[0, 2])
    x = draw(3, 2, 20, seed=2).requires_grad_()
    bank.forward("fc1", x).sum().backward()
    a, b = bank.composed("fc1")
    expected = (b.sum(0) @ a).float()
    torch.testing.assert_close(x.grad[0], expected.expand(2, 20))
    torch.testing.assert_close(x.grad[2], expected.expand(2, 20))
    assert not bool(x.grad[1].any())


def test_shards_are_found_by_kind_in_order(preset):
    bank, _ = bank_of(preset)
    for name in (cohort_name(12), cohort_name(2)):
        bank.install(adapter_of(name))
    bank.install(adapter_of("calibration", kind=LoraKind.CALIBRATION))
    shards = [adapter.spec.name for adapter in bank.adapters(kind=LoraKind.COHORT)]
    assert shards == ["cohort-0002", "cohort-0012"]
    assert len(bank.adapters()) == 3


def test_every_change_is_charged_to_the_nodes_that_made_it(preset):
    bank, ledger = bank_of(preset, nodes=3)
    adapter = adapter_of("x", a_seed=5, storage=Precision.INT8)
    size = adapter.byte_count
    bank.install(adapter, nodes=[0, 1])
    assert bank.remove("x") == 2
    assert bank.remove("x") == 0
    written = cost.sram_write(preset, size)
    paid = {Phase.PROGRAM: written, Phase.ERASE: written}
    assert spent(ledger, 0) == spent(ledger, 1) == paid
    assert spent(ledger, 2) == {}
    assert written.bytes == size
    assert [bank.sram_bytes(node) for node in range(3)] == [0, 0, 0]


def test_arithmetic_is_charged_per_vector_and_a_frozen_a_is_read_by_the_bit(preset):
    bank, ledger = bank_of(preset, nodes=2)
    bank.install(adapter_of("free"), nodes=[1])
    bank.install(adapter_of("frozen", a_seed=5), nodes=[1])
    other, mark = ledger.mark(0), ledger.mark(1)
    bank.forward("fc1", draw(2, 10, 20))
    assert ledger.since(mark)[Phase.INFER] == Cost()
    bank.forward("fc1", draw(2, 10, 20), Phase.INFER)
    free, frozen = 4 * (4 * 20 + 12 * 4), 4 * 12 * 4 + 4 * 20 // 8
    expected = cost.digital_macs(preset, 10 * 2 * 4 * (20 + 12), cost.Precision.FP32)
    expected += cost.sram_read(preset, free + frozen)
    assert ledger.since(mark)[Phase.INFER] == expected
    assert ledger.since(other)[Phase.INFER] == Cost()


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (lambda bank: bank.install(adapter_of("x", seed=5)), AdapterError, "has an adapter x already"),
        (lambda bank: bank.install(adapter_of("y", base=base_of(2))), AdapterBaseError, "another frozen backbone"),
        (
            lambda bank: bank.install(adapter_of("y", base=base_of(task="speakers"))),
            AdapterBaseError,
            "expected faces, got speakers",
        ),
        (lambda bank: bank.install(adapter_of("y", rank=1), nodes=[2]), AdapterError, "nodes 0 to 1; got .2."),
        (lambda bank: bank.install(adapter_of("y", rank=1), nodes=[]), AdapterError, "got ..$"),
        (lambda bank: bank.forward("fc3", draw(2, 1, 20)), AdapterShapeError, "no layer 'fc3'; expected one of"),
        (lambda bank: bank.forward("fc1", draw(1, 1, 20)), AdapterShapeError, r"vectors \[2, V, 20\]; got"),
    ],
)
def test_what_is_refused_changes_nothing(preset, change, error, reason):
    bank, ledger = bank_of(preset, nodes=2)
    bank.install(adapter_of("x"))
    before = (bank.digest(0), bank.digest(1), ledger.totals(0), ledger.totals(1))
    with pytest.raises(error, match=reason):
        change(bank)
    assert before == (bank.digest(0), bank.digest(1), ledger.totals(0), ledger.totals(1))


def test_factors_that_do_not_match_the_spec_are_refused():
    sound = adapter_of("x")
    with pytest.raises(AdapterShapeError, match=r"expected lora_A of layers \['fc1', 'fc2'\], got \[\]"):
        dataclasses.replace(sound, a={}).check_fits(BASE)
    with pytest.raises(AdapterShapeError, match=r"lora_B of layer 'fc2': expected \[6, 4\] as fp32, got \[12, 4\]"):
        dataclasses.replace(sound, b={"fc1": sound.b["fc1"], "fc2": sound.b["fc1"]}).check_fits(BASE)


def test_the_layers_of_a_chip_take_the_bank_as_their_correction(preset):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 6))
    base = FrozenBase.of("faces", {name: model.get_submodule(name).weight for name in ("0", "2")})
    chips = program(model, preset, seed=1, nodes=["north", "south"])
    ledger = EnergyLedger(2)
    bank = LoraBank(base, preset, ledger)
    bank.install(adapter_of("x", base=base), nodes=[1])
    images = draw(4, 20, seed=3)
    plain = chips(images)
    for name in base.layers:
        chips.module.get_submodule(name).correction = partial(bank.forward, name, phase=Phase.INFER)
    corrected = chips(images)
    assert torch.equal(corrected[0], plain[0])
    assert not torch.allclose(corrected[1], plain[1], atol=1e-3)
    assert ledger.totals(1)[Phase.INFER].energy_j > 0
    bank.remove("x")
    assert torch.equal(chips(images), plain)
