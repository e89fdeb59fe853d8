"""PEFT folders by somebody who means harm: each is refused with a reason, and nothing has changed."""

import pytest
import safetensors.torch
import torch

from edge_node.errors import (
    AdapterBaseError,
    AdapterError,
    AdapterShapeError,
    AdapterSpecError,
    AdapterValueError,
)
from fleet.lab.errors import AdapterFileError, AdapterUnsupportedError
from fleet.lab.exchange.adapter import LoraKind
from fleet.lab.exchange.peft_format import CONFIG_FILE, TENSORS_FILE, import_peft, largest_file_bytes
from tests.unit.engine.adapter_bytes import (
    BASE,
    CONFIG,
    DATA_BYTES,
    DIGEST,
    ENTRY,
    FIRST,
    LAST,
    LAST_BEGINS,
    NAME,
    SOUND,
    adapter_of,
    draw,
    joined,
    key,
    parts,
    spoilt,
    with_config,
    with_entry,
    with_header_text,
    with_tensors,
)

#: Refused on what the header says, before the library is given the file: what, bytes, error, reason.
LIES = [
    ("empty", b"", AdapterFileError, "truncated: its header ends at byte 8, the file at 0"),
    ("cut in the length", SOUND[:5], AdapterFileError, "truncated: its header ends"),
    ("cut in the header", SOUND[:100], AdapterFileError, "truncated: its header ends at byte .* the file at 100"),
    (
        "larger than any adapter",
        SOUND + bytes(largest_file_bytes(BASE)),
        AdapterFileError,
        "adapter_model.safetensors is larger than .* bytes, the most expected",
    ),
    (
        "header of 2^63 bytes",
        (2**63).to_bytes(8, "little") + SOUND[8:],
        AdapterFileError,
        "header says 9223372036854775808 bytes; expected at most 1048576",
    ),
    ("header of 1 MiB and 2 bytes", joined(" " * (1 << 20) + "{}", b""), AdapterFileError, "says 1048578 bytes"),
    ("header nested 300,000 deep", joined("[" * 300_000, b""), AdapterFileError, "no sound JSON"),
    ("header that is no JSON", joined("{'fc1'}", b""), AdapterFileError, "no sound JSON"),
    ("header that is no UTF-8", b"\4" + bytes(7) + b'{"\xff"', AdapterFileError, "no sound JSON"),
    ("header that is a list", joined("[]", b""), AdapterFileError, "a JSON list; expected an object"),
    ("number of 5,000 digits", joined('{"a": ' + "9" * 5000 + "}", b""), AdapterFileError, "no sound JSON"),
    ("tensor twice", with_header_text(ENTRY, f"{ENTRY}, {ENTRY}"), AdapterFileError, f"{FIRST}.* is there twice"),
    ("tensor of 4 TB", with_entry("fc1.lora_B", shape=[2**40]), AdapterShapeError, r"got 'F32' \[1099511627776\]"),
    ("axis of 2^60", with_entry("fc1.lora_B", shape=[2**60, 0]), AdapterShapeError, r"F32 or F16 or BF16 \[300, 4\]"),
    ("negative axis", with_entry("fc1.lora_B", shape=[-300, -4]), AdapterShapeError, r"got 'F32' \[-300, -4\]"),
    ("axis that is true", with_entry("fc1.lora_B", shape=[True, 4]), AdapterShapeError, r"got 'F32' \[True, 4\]"),
    ("99 axes", with_entry("fc1.lora_B", shape=[1] * 99), AdapterShapeError, r"got 'F32' \[1, 1, 1, 1, \.\.\.\]"),
    ("shape that is a text", with_entry("fc1.lora_B", shape="x" * 10**5), AdapterShapeError, "got 'F32' 'xxx"),
    ("64-bit format", with_entry("fc1.lora_B", dtype="F64"), AdapterShapeError, "got 'F64'"),
    ("format that is a list", with_entry("fc1.lora_B", dtype=["F32"]), AdapterShapeError, r"got \['F32'\]"),
    (
        "integer format",
        with_tensors(fc1__lora_B=torch.zeros(300, 4, dtype=torch.int8)),
        AdapterShapeError,
        r"fc1.lora_B.weight': expected F32 or F16 or BF16 \[300, 4\], got 'I8' \[300, 4\]",
    ),
    (
        "wrong shape",
        with_entry("fc1.lora_B", shape=[4, 300]),
        AdapterShapeError,
        r"expected F32 or F16 or BF16 \[300, 4\], got 'F32' \[4, 300\]",
    ),
    (
        "rank of 250, implied",
        with_tensors(fc1__lora_A=torch.zeros(250, 300), fc1__lora_B=torch.zeros(300, 250)),
        AdapterShapeError,
        r"\[4, 300\], got 'F32' \[250, 300\]",
    ),
    ("further field of a tensor", with_entry("fc1.lora_B", pickle="x"), AdapterShapeError, "described by .*'pickle'"),
    ("tensor that is no entry", joined({key("fc1.lora_B"): 7}, b""), AdapterShapeError, "has no tensor"),
    (
        "other backbone",
        with_header_text(BASE.digest, "0" * 64),
        AdapterBaseError,
        f"expected base digest {BASE.digest}, got {'0' * 64}",
    ),
    ("digest of 100 kB", with_header_text(BASE.digest, "0" * 10**5), AdapterBaseError, f"got {'0' * 64}"),
    ("digest that is a list", joined({"__metadata__": {DIGEST: [1]}}, b""), AdapterBaseError, "got"),
    ("metadata that are a list", joined({"__metadata__": []}, b""), AdapterFileError, "texts by name"),
    (
        "unknown layer",
        with_tensors(fc9__lora_A=draw(4, 300), fc9__lora_B=draw(300, 4)),
        AdapterShapeError,
        "the faces network has no layer 'fc9'; expected one of fc1, fc2",
    ),
    ("no layers", joined({}, b""), AdapterShapeError, "sorted and each once; got"),
    ("missing tensor", with_tensors(fc2__lora_A=None), AdapterShapeError, "has no tensor '.*fc2.lora_A"),
    (
        "tensor of no layer",
        joined(parts(SOUND)[0] | {"stowaway": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, b""),
        AdapterUnsupportedError,
        "'stowaway' is no factor of a LoRA",
    ),
]

#: Refused by the library on what the header says of bytes, and so before a tensor is made.
BYTES = [
    ("cut in the data", SOUND[:-1]),
    ("trailing bytes", SOUND + b"\0"),
    (
        "tensor of 4 TB beyond the end",
        with_entry(LAST, data_offsets=[LAST_BEGINS, LAST_BEGINS + 2**42]),
    ),
    ("gap between tensors", with_entry(LAST, data_offsets=[LAST_BEGINS + 4, DATA_BYTES + 4])),
    ("overlapping tensors", with_entry("fc1.lora_B", data_offsets=[0, 4800])),
    ("offsets that are no numbers", with_entry("fc1.lora_B", data_offsets=["0", "4"])),
    ("offsets of 2^63", with_entry("fc1.lora_B", data_offsets=[2**63, 2**63 + 4800])),
    ("metadata that are no texts", with_header_text(f'"{BASE.digest}"', f'"{BASE.digest}", "x": 5')),
]

#: Refused on the configuration: what, bytes, error, reason.
CONFIGURATIONS = [
    ("rank of 10^9", with_config(r=10**9), AdapterShapeError, "expected r from 1 to 256, got 1000000000"),
    ("rank of 200", with_config(r=200), AdapterShapeError, r"\[200, 300\], got 'F32' \[4, 300\]"),
    ("rank that is true", with_config(r=True), AdapterShapeError, "expected r from 1 to 256, got True"),
    ("alpha of 0", with_config(lora_alpha=0), AdapterFileError, "expected lora_alpha above 0"),
    ("alpha that is NaN", with_config(lora_alpha=float("nan")), AdapterFileError, "no sound JSON"),
    ("alpha beyond float64", with_config(lora_alpha=10**400), AdapterFileError, "lora_alpha"),
    ("huge alpha", with_config(lora_alpha=9e8), AdapterValueError, "the change to layer 'fc1' has norm up to"),
    ("further field", with_config(run="rm"), AdapterUnsupportedError, "'run': 'rm'"),
    ("larger than a header", b" " * (1 << 21), AdapterFileError, "adapter_config.json is larger than"),
]

#: Refused on the numbers themselves: what, bytes, reason.
NUMBERS = [
    ("NaN", with_tensors(fc1__lora_B=spoilt(torch.nan)), "1 of 1200 numbers are NaN"),
    ("infinity", with_tensors(fc1__lora_B=spoilt(torch.inf, 7)), "NaN or infinite"),
    ("huge norm", with_tensors(fc1__lora_B=spoilt(1e30)), "the change to layer 'fc1' has norm up to .*; expected"),
]


def read(folder, content=SOUND, config=CONFIG, name=NAME):
    (folder / CONFIG_FILE).write_bytes(config)
    (folder / TENSORS_FILE).write_bytes(content)
    return import_peft(folder, BASE, name=name, kind=LoraKind.COHORT)


def refuse(folder, error, reason, **files):
    with pytest.raises(error, match=reason) as refused:
        read(folder, **files)
    assert len(str(refused.value)) < 500


def cases(rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def test_the_sound_folder_is_taken(tmp_path):
    assert read(tmp_path).digest == adapter_of().digest


@pytest.mark.parametrize(("content", "error", "reason"), cases(LIES))
def test_a_lying_header_is_refused_before_the_library_sees_the_file(tmp_path, monkeypatch, content, error, reason):
    monkeypatch.setattr(safetensors.torch, "load", lambda content: pytest.fail("tensors were made of a lying file"))
    refuse(tmp_path, error, reason, content=content)


@pytest.mark.parametrize("content", cases(BYTES))
def test_a_header_that_lies_about_bytes_is_refused(tmp_path, content):
    refuse(tmp_path, AdapterFileError, "is damaged, truncated or lies about its bytes: ", content=content)


@pytest.mark.parametrize(("config", "error", "reason"), cases(CONFIGURATIONS))
def test_a_lying_configuration_is_refused(tmp_path, config, error, reason):
    refuse(tmp_path, error, reason, config=config)


@pytest.mark.parametrize(("content", "reason"), cases(NUMBERS))
def test_hostile_numbers_are_refused(tmp_path, content, reason):
    refuse(tmp_path, AdapterValueError, reason, content=content)


def test_a_name_of_a_path_is_refused(tmp_path):
    refuse(tmp_path, AdapterSpecError, "cannot name an adapter", name="../../keys")


def test_every_family_of_refusal_is_an_adapter_error():
    assert all(issubclass(row[2], AdapterError) for row in LIES + CONFIGURATIONS)
