from __future__ import annotations

import os
import signal
import threading

import pytest

from fleet.local.supervisor import terminated_like_interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_interrupts_once_and_a_second_one_leaves_the_end_in_order(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    ends = []

    def work() -> None:
        with terminated_like_interrupted():
            try:
                os.kill(os.getpid(), number)
                threading.Event().wait(5)
            finally:
                os.kill(os.getpid(), number)
                ends.append("in order")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert ends == ["in order"]
    assert {each: signal.getsignal(each) for each in before} == before
