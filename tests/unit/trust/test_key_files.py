import pytest

from fleet.errors import KeyFileError, NotFoundError
from fleet.trust.keys import CoordinatorKeys


def mode(path):
    return path.stat().st_mode & 0o777


def test_keys_are_made_once_and_stay_the_same(tmp_path):
    first = CoordinatorKeys.load_or_create(tmp_path / "keys")
    again = CoordinatorKeys.load_or_create(tmp_path / "keys")
    assert again.command_public_key == first.command_public_key
    assert again.sealing_public_key == first.sealing_public_key
    assert again.operator_token == first.operator_token


@pytest.mark.parametrize("name", CoordinatorKeys.FILES)
def test_a_missing_key_is_never_made_beside_the_others(tmp_path, name):
    CoordinatorKeys.load_or_create(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        CoordinatorKeys.load_or_create(tmp_path)
    assert not (tmp_path / name).exists()


def test_nobody_else_may_read_the_files(tmp_path):
    CoordinatorKeys.load_or_create(tmp_path / "keys")
    assert {path.name: mode(path) for path in (tmp_path / "keys").iterdir()} == {
        "command.key": 0o600,
        "sealing.key": 0o600,
        "operator.token": 0o600,
        "learning.token": 0o600,
    }
    assert mode(tmp_path / "keys") == 0o700


def test_a_key_that_others_can_read_is_refused(tmp_path):
    CoordinatorKeys.load_or_create(tmp_path)
    (tmp_path / "command.key").chmod(0o640)
    with pytest.raises(KeyFileError, match="mode 0640, expected 0600"):
        CoordinatorKeys.load_or_create(tmp_path)


def test_a_cut_key_is_refused(tmp_path):
    CoordinatorKeys.load_or_create(tmp_path)
    (tmp_path / "command.key").write_bytes(b"short")
    with pytest.raises(KeyFileError, match="5 bytes, expected 32"):
        CoordinatorKeys.load_or_create(tmp_path)


def test_secrets_are_not_in_the_text_form(tmp_path):
    keys = CoordinatorKeys.load_or_create(tmp_path)
    assert keys.operator_token not in repr(keys)
