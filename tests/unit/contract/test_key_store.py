import os

import pytest
from reram_fleet.crypto.key_store import KeyStore, create_private, read_private
from reram_fleet.errors import ConflictError, InvalidInputError, KeyFileError, KeyMissingError

TAG = "ab" * 16


def test_a_key_is_never_written_over(tmp_path):
    create_private(tmp_path / "a.key", b"one")
    with pytest.raises(ConflictError, match="exists already"):
        create_private(tmp_path / "a.key", b"two")
    assert read_private(tmp_path / "a.key") == b"one"


def test_each_subject_has_a_key_of_its_own(tmp_path):
    keys = KeyStore(tmp_path)
    assert keys.create(TAG) != keys.create("cd" * 16)
    assert keys.get(TAG) == KeyStore(tmp_path).get(TAG)
    assert keys.ids() == {TAG, "cd" * 16}
    with pytest.raises(ConflictError):
        keys.create(TAG)


def test_a_key_that_was_destroyed_is_never_the_same_again(tmp_path):
    keys = KeyStore(tmp_path)
    key = keys.get_or_create(TAG)
    keys.destroy(TAG)
    assert keys.get_or_create(TAG) != key


def test_half_written_keys_of_a_crash_are_destroyed(tmp_path):
    keys = KeyStore(tmp_path)
    keys.create(TAG)
    (tmp_path / f".{TAG}.key.1a2b").write_bytes(b"half")
    keys.sweep_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == [f"{TAG}.key"]


def test_a_key_that_others_can_read_or_that_was_cut_is_refused(tmp_path):
    keys = KeyStore(tmp_path)
    keys.create(TAG)
    path = tmp_path / f"{TAG}.key"
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 0644, expected 0600"):
        keys.get(TAG)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(KeyFileError, match="5 bytes, expected 32"):
        keys.get(TAG)


def test_get_or_create_makes_a_key_once(tmp_path):
    keys = KeyStore(tmp_path)
    assert keys.get_or_create("revision-1") == keys.get_or_create("revision-1")


def test_a_destroyed_key_is_gone_from_the_folder_and_from_its_file(tmp_path):
    keys = KeyStore(tmp_path)
    key = keys.create(TAG)
    # A second name for the same file shows what was left in it when it was unlinked.
    os.link(tmp_path / f"{TAG}.key", tmp_path / "witness")
    assert keys.destroy(TAG)
    assert not keys.exists(TAG)
    left = (tmp_path / "witness").read_bytes()
    assert len(left) == len(key)
    assert left != key
    with pytest.raises(KeyMissingError):
        keys.get(TAG)


def test_destroying_twice_is_harmless(tmp_path):
    keys = KeyStore(tmp_path)
    keys.create(TAG)
    assert [keys.destroy(TAG), keys.destroy(TAG)] == [True, False]


@pytest.mark.parametrize("key_id", ["", "../x", "a/b", ".x", "a.b", "x" * 129])
def test_an_id_that_could_leave_the_folder_is_refused(tmp_path, key_id):
    with pytest.raises(InvalidInputError):
        KeyStore(tmp_path).create(key_id)
