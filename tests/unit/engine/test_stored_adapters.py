import dataclasses
import math

import pytest
import torch

from edge_node.errors import AdapterBaseError, AdapterShapeError, AdapterSpecError, AdapterValueError
from edge_node.recognition.lora.frozen_base import FrozenBase
from edge_node.recognition.lora.output_layer import frozen_factor
from fleet.lab.exchange.adapter import MAX_RANK, LoraAdapter, LoraKind, LoraSpec
from fleet.lab.exchange.storage import StoredMatrix
from hwmodel import Precision

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
    assert adapter.byte_count == sum(len(m.to_bytes()) for m in stored)


@pytest.mark.parametrize(
    "change",
    [
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


def test_digest_is_the_same_under_another_name_and_of_another_kind():
    assert adapter_of("y", kind=LoraKind.SUBJECT).digest == adapter_of("x").digest


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


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        (lambda: base_of(2), "another frozen backbone"),
        (lambda: base_of(task="speakers"), "expected speakers, got faces"),
    ],
)
def test_adapter_of_another_network_is_refused(base, reason):
    with pytest.raises(AdapterBaseError, match=reason):
        adapter_of("x").check_fits(base())


def test_factors_that_do_not_match_the_spec_are_refused():
    sound = adapter_of("x")
    with pytest.raises(AdapterShapeError, match=r"expected lora_A of layers \['fc1', 'fc2'\], got \[\]"):
        dataclasses.replace(sound, a={}).check_fits(BASE)
    with pytest.raises(AdapterShapeError, match=r"lora_B of layer 'fc2': expected \[6, 4\] as fp32, got \[12, 4\]"):
        dataclasses.replace(sound, b={"fc1": sound.b["fc1"], "fc2": sound.b["fc1"]}).check_fits(BASE)
