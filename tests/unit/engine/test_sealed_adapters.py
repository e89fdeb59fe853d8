"""Adapter files by somebody who has no key, or the wrong one: they do not open."""

import pytest
from reram_fleet.crypto import sealing
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.errors import KeyFileError

from edge_node.errors import AdapterFileError, AdapterSealError, AdapterSpecError
from fleet.lab.exchange.files import AdapterFiles
from tests.unit.engine.adapter_bytes import BASE, NAME, SOUND, adapter_of


@pytest.fixture
def files(tmp_path):
    return AdapterFiles(tmp_path / "adapters", KeyStore(tmp_path / "keys"), "node-1")


@pytest.mark.parametrize("at", [24, 40, -1])
def test_a_changed_ciphertext_does_not_open(files, at):
    files.save_adapter(adapter_of())
    path = files.folder / f"{NAME}.adapter"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(AdapterSealError, match="does not open: it was changed"):
        files.load_adapter(NAME, BASE)


@pytest.mark.parametrize("kept", [60, 5000, -1])
def test_a_cut_ciphertext_does_not_open(files, kept):
    files.save_adapter(adapter_of())
    path = files.folder / f"{NAME}.adapter"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(AdapterSealError, match="does not open"):
        files.load_adapter(NAME, BASE)


def test_the_wrong_key_does_not_open(files):
    files.save_adapter(adapter_of())
    (key_id,) = files.keys.ids()
    (files.keys.folder / f"{key_id}.key").write_bytes(bytes(32))
    with pytest.raises(AdapterSealError, match="sealed under another key"):
        files.load_adapter(NAME, BASE)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"", AdapterFileError, "is no adapter file: expected RFADAPT1"),
        (b"RFADAPT1" + bytes(16), AdapterFileError, "is no adapter file"),
        (SOUND, AdapterFileError, "is no adapter file"),
        (b"RFADAPT1" + bytes(100), KeyFileError, "is missing"),
        (bytes(4_000_000), AdapterFileError, "larger than .* bytes, the most expected"),
    ],
    ids=["empty", "head alone", "not sealed", "unknown key", "4 MB"],
)
def test_what_is_no_adapter_file_is_not_opened(files, monkeypatch, content, error, reason):
    files.folder.mkdir()
    (files.folder / f"{NAME}.adapter").write_bytes(content)
    monkeypatch.setattr(sealing, "open_symmetric", lambda *_: pytest.fail("decrypted"))
    with pytest.raises(error, match=reason):
        files.load_adapter(NAME, BASE)


@pytest.mark.parametrize("name", ["../keys/x", "", ".x", "a/b"])
def test_a_name_that_leaves_the_folder_is_refused(files, name):
    with pytest.raises(AdapterSpecError, match="cannot name an adapter file"):
        files.load_adapter(name, BASE)
    with pytest.raises(AdapterSpecError, match="cannot name an adapter file"):
        files.destroy_adapter(name)
