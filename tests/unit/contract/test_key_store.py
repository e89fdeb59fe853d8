"""Key stores: one suite over files and memory, and what only files can get wrong."""

import os

import pytest
from reram_fleet.crypto.key_store import FileKeyStore, KeyStore, MemoryKeyStore, create_private, read_private
from reram_fleet.errors import ConflictError, InvalidInputError, KeyFileError, KeyMissingError

TAG = "ab" * 16


@pytest.fixture(params=["files", "memory"])
def keys(request, tmp_path) -> KeyStore:
    return FileKeyStore(tmp_path) if request.param == "files" else MemoryKeyStore()


def test_each_subject_has_a_key_of_its_own(keys):
    key = keys.create(TAG)
    assert len(key) == 32
    assert keys.create("cd" * 16) != key == keys.get(TAG)
    assert keys.ids() == {TAG, "cd" * 16}


def test_a_key_is_made_once(keys):
    key = keys.create(TAG)
    with pytest.raises(ConflictError, match="exists already"):
        keys.create(TAG)
    assert keys.get(TAG) == key


def test_get_or_create_makes_a_key_once(keys):
    assert keys.get_or_create("revision-1") == keys.get_or_create("revision-1")


def test_a_key_that_was_destroyed_is_gone_and_never_the_same_again(keys):
    key = keys.get_or_create(TAG)
    assert keys.destroy(TAG)
    assert not keys.exists(TAG)
    assert keys.ids() == set()
    with pytest.raises(KeyMissingError):
        keys.get(TAG)
    assert keys.get_or_create(TAG) != key


def test_destroying_twice_is_harmless(keys):
    keys.create(TAG)
    assert [keys.destroy(TAG), keys.destroy(TAG)] == [True, False]


def test_sweeping_leaves_whole_keys_alone(keys):
    keys.create(TAG)
    keys.sweep_leftovers()
    assert keys.ids() == {TAG}


@pytest.mark.parametrize("key_id", ["", "../x", "a/b", ".x", "a.b", "x" * 129])
@pytest.mark.parametrize("call", ["create", "get", "get_or_create", "exists", "destroy"])
def test_an_id_that_could_leave_a_folder_is_refused(keys, call, key_id):
    with pytest.raises(InvalidInputError):
        getattr(keys, call)(key_id)


def test_a_copy_of_a_store_in_memory_keeps_what_is_destroyed_in_the_other():
    keys = MemoryKeyStore()
    key, backup = keys.create(TAG), keys.copy()
    keys.destroy(TAG)
    assert backup.get(TAG) == key
    assert TAG not in repr(backup)


# Files


def test_a_private_file_is_never_written_over(tmp_path):
    create_private(tmp_path / "a.key", b"one")
    with pytest.raises(ConflictError, match="exists already"):
        create_private(tmp_path / "a.key", b"two")
    assert read_private(tmp_path / "a.key") == b"one"


def test_keys_are_there_for_the_next_process(tmp_path):
    assert FileKeyStore(tmp_path).create(TAG) == FileKeyStore(tmp_path).get(TAG)


def test_half_written_keys_of_a_crash_are_destroyed(tmp_path):
    keys = FileKeyStore(tmp_path)
    keys.create(TAG)
    (tmp_path / f".{TAG}.key.1a2b").write_bytes(b"half")
    keys.sweep_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == [f"{TAG}.key"]


def test_a_key_that_others_can_read_or_that_was_cut_is_refused(tmp_path):
    keys = FileKeyStore(tmp_path)
    keys.create(TAG)
    path = tmp_path / f"{TAG}.key"
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 0644, expected 0600"):
        keys.get(TAG)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(KeyFileError, match="5 bytes, expected 32"):
        keys.get(TAG)


def test_a_destroyed_key_is_gone_from_its_file(tmp_path):
    keys = FileKeyStore(tmp_path)
    key = keys.create(TAG)
    # A second name for the same file shows what was left in it when it was unlinked.
    os.link(tmp_path / f"{TAG}.key", tmp_path / "witness")
    keys.destroy(TAG)
    left = (tmp_path / "witness").read_bytes()
    assert len(left) == len(key)
    assert left != key
