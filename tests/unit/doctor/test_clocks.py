from __future__ import annotations

import pytest
from reram_fleet.v1.operator_pb2 import GetFleetResponse

from fleet.doctor.clocks import check_clocks
from fleet.doctor.findings import State
from fleet.doctor.target import Answer, Target

ASKED_MS, ANSWERED_MS = 1_700_000_000_000, 1_700_000_000_400


@pytest.mark.parametrize(
    ("off_ms", "state", "said"),
    [
        (0, State.OK, "agree within"),
        (2_000, State.OK, "agree within"),
        (10_000, State.WARNING, "10.0 s ahead of this machine's"),
        (-10_000, State.WARNING, "10.0 s behind this machine's"),
        (120_000, State.FAILURE, "120 s ahead of this machine's"),
    ],
)
def test_a_clock_may_be_off_by_as_much_as_the_call_took_and_a_little_more(off_ms, state, said):
    edge = ANSWERED_MS if off_ms > 0 else ASKED_MS
    answer = Answer(GetFleetResponse(now_unix_ms=edge + off_ms), (), (), ASKED_MS, ANSWERED_MS)
    boot, finding = check_clocks(Target(answer=answer))
    assert boot.state is State.OK
    assert (finding.state, said in finding.found) == (state, True), finding.found
