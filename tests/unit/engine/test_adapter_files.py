import stat
import subprocess
import sys

import pytest
import safetensors
import safetensors.torch
import torch
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.errors import KeyFileError

from edge_node.errors import AdapterFileError, AdapterSealError, AdapterStaleError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.exchange import files as files_module
from fleet.lab.exchange.file_format import decode_adapter, encode_adapter
from fleet.lab.exchange.files import AdapterFiles
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec
from hwmodel import Precision

SIZES = {"fc1": (12, 20), "blocks.0.fc2": (6, 12)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE = FrozenBase.of("faces", {name: draw(*size) for name, size in SIZES.items()})


def adapter_of(name="cohort-0001", *, seed=0, **fields):
    fields = {"kind": LoraKind.COHORT, "rank": 4, "alpha": 6.5, "storage": Precision.INT8, **fields}
    spec = LoraSpec(name, task="faces", base_digest=BASE.digest, layers=tuple(BASE.layers), **fields)
    b = {n: 0.1 * draw(s.outputs, spec.rank, seed=seed) for n, s in BASE.layers.items()}
    a = {n: 0.1 * draw(spec.rank, s.inputs, seed=seed + 1) for n, s in BASE.layers.items()}
    return LoraAdapter.build(spec, BASE, b=b, a=a if spec.a_seed is None else None)


@pytest.fixture
def files(tmp_path):
    return AdapterFiles(tmp_path / "adapters", KeyStore(tmp_path / "keys"), "node-1")


def path_of(files, name="cohort-0001"):
    return files.folder / f"{name}.adapter"


@pytest.mark.parametrize("storage", Precision)
@pytest.mark.parametrize("a_seed", [None, 2**64 - 1])
def test_an_adapter_comes_back_as_it_was_saved(files, storage, a_seed):
    saved = adapter_of(storage=storage, a_seed=a_seed, built_at_generation=17)
    files.save_adapter(saved)
    loaded = files.load_adapter("cohort-0001", BASE, oldest_generation=17)
    assert loaded.spec == saved.spec
    assert loaded.digest == saved.digest
    for layer, size in SIZES.items():
        for mine, other in zip(loaded.factors(layer, size[1]), saved.factors(layer, size[1]), strict=True):
            assert torch.equal(mine, other)


def test_nothing_of_an_adapter_is_on_the_disk_in_the_clear(files):
    saved = adapter_of(storage=Precision.FP32)
    files.save_adapter(saved)
    content = path_of(files).read_bytes()
    clear = encode_adapter(saved)
    planted = saved.b["fc1"].to_bytes()
    assert planted in clear
    assert planted[:16] not in content
    assert BASE.digest.encode() not in content
    assert b"lora" not in content
    assert stat.S_IMODE(path_of(files).stat().st_mode) == 0o600


def test_every_version_has_a_key_of_its_own_and_the_older_one_is_destroyed(files):
    files.save_adapter(adapter_of(seed=1))
    older, keys = path_of(files).read_bytes(), files.keys.ids()
    files.save_adapter(adapter_of(seed=2))
    assert len(files.keys.ids()) == 1
    assert files.keys.ids().isdisjoint(keys)
    assert files.load_adapter("cohort-0001", BASE).digest == adapter_of(seed=2).digest
    path_of(files).write_bytes(older)
    with pytest.raises(KeyFileError, match="is missing"):
        files.load_adapter("cohort-0001", BASE)


def test_a_destroyed_adapter_cannot_be_read_from_a_backup_of_its_file(files):
    files.save_adapter(adapter_of())
    backup = path_of(files).read_bytes()
    assert files.destroy_adapter("cohort-0001")
    assert not files.destroy_adapter("cohort-0001")
    assert (files.names(), files.keys.ids()) == ((), set())
    with pytest.raises(AdapterFileError, match="there is no adapter cohort-0001 on this node; there are: none"):
        files.load_adapter("cohort-0001", BASE)
    path_of(files).write_bytes(backup)
    with pytest.raises(KeyFileError, match="is missing"):
        files.load_adapter("cohort-0001", BASE)


def test_a_file_opens_only_under_its_own_name_and_on_its_own_node(files):
    files.save_adapter(adapter_of())
    path_of(files, "cohort-0002").write_bytes(path_of(files).read_bytes())
    with pytest.raises(AdapterSealError, match=r"cohort-0002.adapter does not open"):
        files.load_adapter("cohort-0002", BASE)
    elsewhere = AdapterFiles(files.folder, files.keys, "node-2")
    with pytest.raises(AdapterSealError, match="does not open"):
        elsewhere.load_adapter("cohort-0001", BASE)
    assert files.load_adapter("cohort-0001", BASE).digest == adapter_of().digest


def test_a_save_that_fails_leaves_the_older_version_readable(files, monkeypatch):
    files.save_adapter(adapter_of(seed=1))

    def power_cut(path, content):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(files_module, "write_atomically", power_cut)
        with pytest.raises(OSError, match="no space left"):
            files.save_adapter(adapter_of(seed=2))
    assert len(files.keys.ids()) == 2
    assert files.sweep() == 1
    assert len(files.keys.ids()) == 1
    assert files.load_adapter("cohort-0001", BASE).digest == adapter_of(seed=1).digest


def test_sweeping_destroys_what_a_crash_left_and_nothing_else(files):
    files.save_adapter(adapter_of("kept"))
    files.save_adapter(adapter_of("keyless"))
    (keyless,) = files.keys.ids() - {path_of(files, "kept").read_bytes()[8:24].hex()}
    files.keys.destroy(keyless)
    half_written = files.folder / ".kept.adapter.1a2b3c4d"
    half_written.write_bytes(b"half")
    assert files.sweep() == 1
    assert files.names() == ("kept",)
    assert not half_written.exists()
    assert files.load_adapter("kept", BASE).digest == adapter_of("kept").digest
    assert files.sweep() == 0


def test_an_adapter_about_people_from_before_a_forget_is_refused(files):
    files.save_adapter(adapter_of(built_at_generation=4))
    with pytest.raises(AdapterStaleError, match="built at generation 4; expected at least 5"):
        files.load_adapter("cohort-0001", BASE, oldest_generation=5)
    files.save_adapter(adapter_of("calibration", kind=LoraKind.CALIBRATION, built_at_generation=0))
    assert files.load_adapter("calibration", BASE, oldest_generation=5).spec.built_at_generation == 0


def test_the_clear_form_is_a_safetensors_file_that_others_can_read(tmp_path):
    adapter = adapter_of()
    path = tmp_path / "clear.safetensors"
    path.write_bytes(encode_adapter(adapter))
    with safetensors.safe_open(path, "pt") as opened:
        assert sorted(opened.keys()) == sorted(
            f"{layer}.{factor}{part}" for layer in SIZES for factor in ("lora_A", "lora_B") for part in ("", ".scale")
        )
        assert list(opened.metadata()) == ["reram_fleet.adapter"]
        assert torch.equal(opened.get_tensor("fc1.lora_B"), adapter.b["fc1"].codes)


def test_the_same_adapter_gives_the_same_bytes():
    first = encode_adapter(adapter_of())
    assert all(encode_adapter(adapter_of()) == first for _ in range(20))
    assert encode_adapter(decode_adapter(first, BASE)) == first


def test_adapters_and_their_files_need_neither_peft_nor_transformers():
    script = (
        "import sys, fleet.lab.lora.bank, fleet.lab.exchange.files, fleet.lab.exchange.peft_format\n"
        "print(sorted({'peft', 'transformers', 'accelerate', 'huggingface_hub'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
