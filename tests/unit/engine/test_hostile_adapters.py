"""Adapter files by somebody who has the key: each is refused with a reason, and nothing has changed."""

import json

import pytest
import torch
from reram_fleet.crypto import sealing
from reram_fleet.crypto.key_store import KeyStore

from edge_node.errors import (
    AdapterBaseError,
    AdapterError,
    AdapterFileError,
    AdapterSealError,
    AdapterShapeError,
    AdapterSpecError,
    AdapterValueError,
)
from fleet.lab.exchange import file_format
from fleet.lab.exchange.file_format import decode_adapter, encode_adapter, largest_file_bytes
from fleet.lab.exchange.files import AdapterFiles
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec
from fleet.lab.lora.bank import LoraBank
from hwmodel import EnergyLedger, Precision
from tests.unit.engine.adapter_bytes import (
    BASE,
    DATA_BYTES,
    ENTRY,
    FIRST,
    LAST,
    LAST_BEGINS,
    METADATA,
    NAME,
    SOUND,
    SOUND_INT8,
    adapter_of,
    draw,
    joined,
    parts,
    spoilt,
    spoilt_int8,
    with_entry,
    with_header_text,
    with_metadata,
    with_tensors,
)

#: Refused on what the file says, before a tensor is made: what, bytes, error, reason.
LIES = [
    ("empty", b"", AdapterFileError, "expected 8 bytes of header length, got 0"),
    ("cut in the length", SOUND[:5], AdapterFileError, "expected 8 bytes of header length, got 5"),
    ("cut in the header", SOUND[:100], AdapterFileError, "truncated: its header ends at byte .* the file at 100"),
    ("cut in the data", SOUND[:-1], AdapterFileError, f"truncated: its tensors take {DATA_BYTES} bytes"),
    ("trailing bytes", SOUND + b"\0", AdapterFileError, f"has trailing bytes: its tensors take {DATA_BYTES}"),
    (
        "larger than any adapter",
        SOUND + bytes(largest_file_bytes(BASE)),
        AdapterFileError,
        "adapter file cohort-0001.adapter is larger than .* bytes, the most expected",
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
    (
        "tensor twice",
        with_header_text(SOUND, ENTRY, f"{ENTRY}, {ENTRY}"),
        AdapterFileError,
        f"'{FIRST}.* is there twice",
    ),
    (
        "tensor of 4 TB beyond the end",
        with_entry(SOUND, LAST, shape=[2**40], data_offsets=[LAST_BEGINS, LAST_BEGINS + 2**42]),
        AdapterFileError,
        f"truncated: its tensors take {LAST_BEGINS + 2**42} bytes, and {DATA_BYTES} follow the header",
    ),
    (
        "gap between tensors",
        with_entry(SOUND, LAST, data_offsets=[LAST_BEGINS + 4, DATA_BYTES + 4]),
        AdapterFileError,
        f"begins at byte {LAST_BEGINS + 4} of the data; expected {LAST_BEGINS}, without gap or overlap",
    ),
    (
        "overlapping tensors",
        with_entry(SOUND, "fc1.lora_B", data_offsets=[0, 4800]),
        AdapterFileError,
        "without gap or overlap",
    ),
    (
        "tensor of 4 TB in 4800 bytes",
        with_entry(SOUND, "fc1.lora_B", shape=[2**40]),
        AdapterFileError,
        "takes 4398046511104 bytes as F32, and its data_offsets span 4800",
    ),
    ("axis of 2^60", with_entry(SOUND, "fc1.lora_B", shape=[2**60, 0]), AdapterShapeError, "expected a shape"),
    ("negative axis", with_entry(SOUND, "fc1.lora_B", shape=[-300, -4]), AdapterShapeError, "expected a shape"),
    ("axis that is true", with_entry(SOUND, "fc1.lora_B", shape=[True, 4]), AdapterShapeError, "expected a shape"),
    ("99 axes", with_entry(SOUND, "fc1.lora_B", shape=[1] * 99), AdapterShapeError, "at most 4 axes"),
    (
        "offsets that are no numbers",
        with_entry(SOUND, "fc1.lora_B", data_offsets=["0", "4"]),
        AdapterFileError,
        "expected two data_offsets",
    ),
    (
        "further field of a tensor",
        with_entry(SOUND, "fc1.lora_B", pickle="cos\nsystem"),
        AdapterFileError,
        "expected dtype, shape and data_offsets",
    ),
    ("unknown format", with_entry(SOUND, "fc1.lora_B", dtype="F64"), AdapterShapeError, "expected numbers as I8, F16"),
    (
        "format that is a list",
        with_entry(SOUND, "fc1.lora_B", dtype=["F32"]),
        AdapterShapeError,
        "expected numbers as I8, F16",
    ),
    (
        "wrong format",
        with_tensors(SOUND, fc1__lora_B=draw(300, 4).half()),
        AdapterShapeError,
        r"'fc1.lora_B': expected F32 \[300, 4\], got F16 \[300, 4\]",
    ),
    (
        "wrong shape",
        with_entry(SOUND, "fc1.lora_B", shape=[4, 300]),
        AdapterShapeError,
        r"'fc1.lora_B': expected F32 \[300, 4\], got F32 \[4, 300\]",
    ),
    (
        "rank of 10^9, declared",
        with_metadata(SOUND, rank=10**9),
        AdapterShapeError,
        "expected rank 1 to 256, got 1000000000",
    ),
    (
        "rank of 200, declared for a small layer",
        with_metadata(encode_adapter(adapter_of()), rank=200),
        AdapterShapeError,
        r"expected F32 \[200, 300\], got F32 \[4, 300\]",
    ),
    (
        "rank of 250, implied",
        with_tensors(SOUND, fc1__lora_A=torch.zeros(250, 300), fc1__lora_B=torch.zeros(300, 250)),
        AdapterShapeError,
        r"'fc1.lora_A': expected F32 \[4, 300\], got F32 \[250, 300\]",
    ),
    ("rank that is true", with_metadata(SOUND, rank=True), AdapterSpecError, "metadata rank: expected int, got True"),
    (
        "other backbone",
        with_metadata(SOUND, base_digest="0" * 64),
        AdapterBaseError,
        f"expected base digest {BASE.digest}, got {'0' * 64}",
    ),
    ("other task", with_metadata(SOUND, task="speakers"), AdapterBaseError, "expected faces, got speakers"),
    (
        "unknown layer",
        with_metadata(SOUND, layers=["fc1", "fc9"]),
        AdapterShapeError,
        "the faces network has no layer 'fc9'; expected one of fc1, fc2",
    ),
    ("no layers", with_metadata(SOUND, layers=[]), AdapterShapeError, "sorted and each once; got"),
    ("layer twice", with_metadata(SOUND, layers=["fc1", "fc1"]), AdapterShapeError, "sorted and each once"),
    ("layer that is no name", with_metadata(SOUND, layers=[["fc1"]]), AdapterSpecError, "metadata layers"),
    (
        "missing tensor",
        with_tensors(SOUND, fc2__lora_A=None),
        AdapterShapeError,
        r"expected 4 tensors, without \['fc2.lora_A'\]",
    ),
    (
        "tensor of no layer",
        with_tensors(SOUND, stowaway=torch.zeros(3)),
        AdapterShapeError,
        r"tensors of no layer of it: \['stowaway'\]",
    ),
    ("A stored beside a seed", with_metadata(SOUND, a_seed=5), AdapterShapeError, "tensors of no layer of it"),
    ("seed of 65 bits", with_metadata(SOUND, a_seed=2**64), AdapterSpecError, "a_seed has 64 bits"),
    ("alpha of 0", with_metadata(SOUND, alpha=0), AdapterSpecError, "expected alpha above 0, got 0.0"),
    ("alpha that is NaN", with_metadata(SOUND, alpha=float("nan")), AdapterFileError, "metadata is no sound JSON"),
    ("alpha beyond float64", with_metadata(SOUND, alpha=10**400), AdapterSpecError, "metadata alpha"),
    ("generation below 0", with_metadata(SOUND, built_at_generation=-1), AdapterSpecError, "a generation is 0"),
    ("unknown kind", with_metadata(SOUND, kind="admin"), AdapterSpecError, "metadata kind: expected one of"),
    ("unknown storage", with_metadata(SOUND, storage="int4"), AdapterSpecError, "metadata storage: expected one of"),
    ("name of a path", with_metadata(SOUND, name="../../keys"), AdapterSpecError, "cannot name an adapter"),
    (
        "later format",
        with_metadata(SOUND, format_version=2),
        AdapterFileError,
        "format version 2; this software reads 1",
    ),
    ("further metadata", with_metadata(SOUND, run="rm"), AdapterFileError, r"have \['run'\] too many"),
    (
        "no metadata",
        joined({n: e for n, e in parts(SOUND)[0].items() if n != "__metadata__"}, parts(SOUND)[1]),
        AdapterFileError,
        "expected the metadata 'reram_fleet.adapter' alone",
    ),
    (
        "metadata named twice",
        with_header_text(SOUND, r"{\"a_seed\":", r"{\"rank\": 4, \"a_seed\":"),
        AdapterFileError,
        "is there twice",
    ),
]

#: Refused on the numbers themselves.
NUMBERS = [
    ("NaN", with_tensors(SOUND, fc1__lora_B=spoilt(torch.nan)), AdapterValueError, "1 of 1200 numbers are NaN"),
    ("infinity", with_tensors(SOUND, fc1__lora_B=spoilt(torch.inf, 7)), AdapterValueError, "NaN or infinite"),
    (
        "huge norm",
        with_tensors(SOUND, fc1__lora_B=spoilt(1e30)),
        AdapterValueError,
        "the change to layer 'fc1' has norm up to .*; expected at most",
    ),
    ("huge alpha", with_metadata(SOUND, alpha=1e30), AdapterValueError, "the change to layer 'fc1' has norm up to"),
    (
        "infinite scale",
        with_tensors(SOUND_INT8, **{"fc1__lora_B__scale": spoilt_int8("fc1.lora_B.scale", torch.inf)}),
        AdapterValueError,
        "1 of 300 numbers are NaN or infinite",
    ),
    (
        "negative scale",
        with_tensors(SOUND_INT8, **{"fc1__lora_B__scale": spoilt_int8("fc1.lora_B.scale", -1.0)}),
        AdapterValueError,
        "a row's scale is negative",
    ),
    (
        "huge scale",
        with_tensors(SOUND_INT8, **{"fc1__lora_B__scale": spoilt_int8("fc1.lora_B.scale", 3e38)}),
        AdapterValueError,
        "the change to layer 'fc1' has norm up to",
    ),
    (
        "code -128",
        with_tensors(SOUND_INT8, fc1__lora_B=spoilt_int8("fc1.lora_B", -128)),
        AdapterValueError,
        "an int8 code is -128",
    ),
    (
        "other numbers than the digest says",
        with_tensors(SOUND, fc1__lora_B=spoilt(0.25)),
        AdapterFileError,
        "is damaged: expected content digest",
    ),
    (
        "other generation-independent facts than the digest says",
        with_metadata(SOUND, kind="shared"),
        AdapterFileError,
        "is damaged: expected content digest",
    ),
]


@pytest.fixture
def files(tmp_path):
    return AdapterFiles(tmp_path / "adapters", KeyStore(tmp_path / "keys"), "node-1")


@pytest.fixture
def bank(preset):
    """A bank that runs an adapter of the same name already."""
    bank = LoraBank(BASE, preset, EnergyLedger(1))
    bank.install(adapter_of(Precision.FP16))
    return bank


def resealed(files, clear):
    """Put these bytes into the file of `NAME`, sealed as its owner would."""
    files.save_adapter(adapter_of())
    path = files.folder / f"{NAME}.adapter"
    head = path.read_bytes()[:24]
    key_id = head[8:].hex()
    purpose = f"reram-fleet/node-adapter/node-1/{NAME}/{key_id}"
    path.write_bytes(head + sealing.seal_symmetric(files.keys.get(key_id), purpose, clear))


def refuse(files, bank, clear, error, reason):
    resealed(files, clear)
    digest, totals = bank.digest(), bank._ledger.totals()
    with pytest.raises(error, match=reason) as refused:
        bank.install(files.load_adapter(NAME, BASE))
    assert len(str(refused.value)) < 500
    assert (bank.digest(), bank._ledger.totals()) == (digest, totals)


def test_the_sound_file_is_taken(files, preset):
    resealed(files, SOUND)
    bank = LoraBank(BASE, preset, EnergyLedger(1))
    bank.install(files.load_adapter(NAME, BASE))
    assert bank.adapters()[0].digest == adapter_of().digest
    assert decode_adapter(SOUND_INT8, BASE).digest == adapter_of(Precision.INT8).digest


@pytest.mark.parametrize(("clear", "error", "reason"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_lying_file_is_refused_before_a_tensor_is_made(files, bank, monkeypatch, clear, error, reason):
    def make_tensors(content):
        pytest.fail("tensors were made of a file that could be refused by its header")

    monkeypatch.setattr(file_format.safetensors.torch, "load", make_tensors)
    refuse(files, bank, clear, error, reason)


@pytest.mark.parametrize(("clear", "error", "reason"), [row[1:] for row in NUMBERS], ids=[row[0] for row in NUMBERS])
def test_hostile_numbers_are_refused(files, bank, clear, error, reason):
    refuse(files, bank, clear, error, reason)


def test_the_clear_form_is_refused_too_if_it_is_larger_than_any_adapter():
    with pytest.raises(AdapterFileError, match=r"expected at most .* for any adapter of the"):
        decode_adapter(bytes(largest_file_bytes(BASE) + 1), BASE)


def test_another_adapter_under_this_name_is_refused(files, bank):
    other = with_metadata(SOUND, name="cohort-0002")
    said = json.loads(parts(other)[0]["__metadata__"][METADATA])
    spec = {**said, "layers": tuple(said["layers"]), "kind": LoraKind.COHORT, "storage": Precision.FP32}
    del spec["format_version"], spec["content_digest"]
    renamed = LoraAdapter(LoraSpec(**spec), b=adapter_of().b, a=adapter_of().a)
    refuse(files, bank, encode_adapter(renamed), AdapterFileError, "expected cohort-0001, got cohort-0002")


def test_every_family_of_refusal_is_an_adapter_error():
    families = {row[2] for row in LIES + NUMBERS} | {AdapterSealError}
    assert families == {
        AdapterBaseError,
        AdapterFileError,
        AdapterSealError,
        AdapterShapeError,
        AdapterSpecError,
        AdapterValueError,
    }
    assert all(issubclass(family, AdapterError) for family in families)
