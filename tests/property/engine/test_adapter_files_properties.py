"""Adapters at any size and PEFT folders with any bytes: what comes back, and that nothing else gets through."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.errors import AdapterError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.exchange.adapter import LoraAdapter, LoraKind, LoraSpec
from fleet.lab.exchange.peft_format import CONFIG_FILE, TENSORS_FILE, decode_peft, export_peft, import_peft
from fleet.lab.exchange.storage import StoredMatrix
from hwmodel import Precision

SIZES = {"a": (5, 9), "b.0": (3, 5), "b.1": (7, 3)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE = FrozenBase.of("speakers", {name: draw(*size) for name, size in SIZES.items()})


def adapter_of(name="x", seed=0, layers=tuple(SIZES), rank=2, storage=Precision.INT8, **fields):
    kind = fields.pop("kind", LoraKind.COHORT)
    fields = {"alpha": 2.0, "rank": rank, "storage": storage, **fields}
    spec = LoraSpec(name, kind, BASE.task, BASE.digest, layers, **fields)
    b = {n: 0.1 * draw(SIZES[n][0], rank, seed=seed) for n in layers}
    a = {n: 0.1 * draw(rank, SIZES[n][1], seed=seed + 1) for n in layers}
    return LoraAdapter.build(spec, BASE, b=b, a=a if spec.a_seed is None else None)


adapters = st.builds(
    adapter_of,
    name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True),
    seed=st.integers(0, 1000),
    layers=st.sets(st.sampled_from(sorted(SIZES)), min_size=1).map(lambda names: tuple(sorted(names))),
    rank=st.integers(1, 5),
    storage=st.sampled_from(Precision),
    kind=st.sampled_from(LoraKind),
    alpha=st.floats(1e-3, 20),
    a_seed=st.none() | st.integers(0, 2**64 - 1),
    built_at_generation=st.integers(0, 2**64 - 1),
)
numbers = st.floats(-60_000, 60_000, width=64)


@given(rows=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=5), to=st.sampled_from(Precision))
def test_storing_what_is_stored_changes_nothing(rows, to):
    once = StoredMatrix.of(torch.tensor(rows, dtype=torch.float64), to)
    again = StoredMatrix.of(once.values(), to)
    assert again.to_bytes() == once.to_bytes()


@given(rows=st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5))
def test_int8_is_within_half_a_step_of_its_row(rows):
    exact = torch.tensor(rows, dtype=torch.float64)
    stored = StoredMatrix.of(exact, Precision.INT8)
    # The scale is itself rounded, so the largest of a row may be 127 times 2^-24 of a step further away.
    half_step = stored.scales.double()[:, None] * (0.5 + 2**-16) + 1e-35
    assert bool(((stored.values() - exact).abs() <= half_step).all())


CONFIG, TENSORS = {}, {}
with tempfile.TemporaryDirectory() as _folder:
    for _storage in Precision:
        export_peft(adapter_of(storage=_storage, kind=LoraKind.CALIBRATION), BASE, Path(_folder))
        CONFIG[_storage] = (Path(_folder) / CONFIG_FILE).read_bytes()
        TENSORS[_storage] = (Path(_folder) / TENSORS_FILE).read_bytes()


def taken(config=CONFIG[Precision.FP32], content=TENSORS[Precision.FP32]):
    return decode_peft(config, content, BASE, name="x", kind=LoraKind.CALIBRATION)


@settings(max_examples=40)
@given(adapter=adapters)
def test_every_adapter_comes_back_from_a_peft_folder_as_it_computes(adapter):
    with tempfile.TemporaryDirectory() as folder:
        export_peft(adapter, BASE, Path(folder), personal_in_the_clear=True)
        back = import_peft(Path(folder), BASE, name=adapter.spec.name, kind=adapter.spec.kind)
    assert (back.spec.layers, back.spec.rank) == (adapter.spec.layers, adapter.spec.rank)
    assert back.spec.scaling == pytest.approx(adapter.spec.scaling)
    for layer in adapter.spec.layers:
        inputs = SIZES[layer][1]
        for mine, other in zip(back.factors(layer, inputs), adapter.factors(layer, inputs), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


@settings(max_examples=400)
@given(storage=st.sampled_from(Precision), data=st.data())
def test_a_changed_byte_is_refused_or_is_a_sound_adapter_of_the_same_layers(storage, data):
    content = bytearray(TENSORS[storage])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    try:
        adapter = taken(CONFIG[storage], bytes(content))
    except AdapterError:
        return
    # PEFT's format has no digest: a changed number is another adapter, whose numbers are finite and bounded.
    assert adapter.spec.layers == tuple(SIZES)


@given(kept=st.integers(0, len(TENSORS[Precision.FP16]) - 1), added=st.binary(min_size=1, max_size=9))
def test_a_file_cut_or_prolonged_is_refused(kept, added):
    whole = TENSORS[Precision.FP16]
    for content in (whole[:kept], whole + added, whole[:kept] + added):
        if content != whole:
            with pytest.raises(AdapterError):
                taken(CONFIG[Precision.FP16], content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["I8", "F16", "F32", "F64"]) | json_values,
        "shape": st.lists(st.integers(-1, 2**62), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 2**62), min_size=2, max_size=2) | json_values,
    }
)
names = st.sampled_from(["base_model.model.a.lora_A.weight", "base_model.model.a.lora_B.weight", "__metadata__"])


@given(header=json_values | st.dictionaries(names, entries))
def test_no_header_gets_past_the_refusals(header):
    text = json.dumps(header).encode()
    with pytest.raises(AdapterError):
        taken(content=len(text).to_bytes(8, "little") + text)


fields = sorted(json.loads(CONFIG[Precision.FP32]))


@settings(max_examples=200)
@given(field=st.sampled_from(fields), value=json_values)
def test_no_field_of_the_configuration_gets_past_the_refusals(field, value):
    config = json.dumps({**json.loads(CONFIG[Precision.FP32]), field: value}).encode()
    try:
        adapter = taken(config)
    except AdapterError:
        return
    assert adapter.spec.layers == tuple(SIZES)
