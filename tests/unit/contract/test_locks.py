"""Lock files that coordinator, node and registry hold."""

import threading

import pytest
from reram_fleet.processes.durable import locked


def test_a_lock_that_is_held_is_refused_or_waited_for(tmp_path):
    path, order = tmp_path / "made" / "lock", []

    def wait():
        with locked(path, wait=True):
            order.append("second")

    with locked(path, wait=False):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
        second = threading.Thread(target=wait)
        second.start()
        second.join(0.1)
        assert second.is_alive()
        order.append("first")
    second.join(10)

    assert order == ["first", "second"]


def test_an_error_inside_lets_go_of_the_lock(tmp_path):
    with pytest.raises(ValueError, match="of the holder"), locked(tmp_path / "lock", wait=False):
        raise ValueError("of the holder")

    with locked(tmp_path / "lock", wait=False):
        pass
