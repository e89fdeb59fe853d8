"""Clocks: the coordinator's beside this machine's, and the one that leases age by."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target

AREA = Area("clocks")
#: Tickets, certificates and what is shown of leases go by the wall clock.
_TOLERATED_S = 2.0
_TOO_MUCH_S = 60.0
_FIX = "let both machines follow one time server, for instance: timedatectl set-ntp true"


def check_clocks(target: Target) -> Iterator[Finding]:
    """Compare the clocks."""
    try:
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        yield AREA.ok(f"CLOCK_BOOTTIME is there: up for {since_boot / 3600:.1f} h, sleep included")
    except (AttributeError, OSError) as error:
        yield AREA.failure(f"there is no CLOCK_BOOTTIME, which leases age by: {error}", "run nodes on Linux 2.6.39+")
    answer = target.answer
    if answer is None or not answer.fleet.now_unix_ms:
        yield AREA.unknown("the coordinator's clock: it was not asked, or its version does not say")
        return
    # Its clock was read at some time within the call.
    early, late = answer.fleet.now_unix_ms - answer.answered_ms, answer.fleet.now_unix_ms - answer.asked_ms
    off_s = max(early, -late, 0) / 1000
    ahead = "ahead of" if early > 0 else "behind"
    if off_s <= _TOLERATED_S:
        yield AREA.ok(f"coordinator and this machine agree within {max(abs(early), abs(late)) / 1000:.1f} s")
    elif off_s <= _TOO_MUCH_S:
        yield AREA.warning(f"the coordinator's clock is {off_s:.1f} s {ahead} this machine's", _FIX)
    else:
        yield AREA.failure(f"the coordinator's clock is {off_s:.0f} s {ahead} this machine's", _FIX)
