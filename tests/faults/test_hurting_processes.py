"""Parts of the runs over real processes: plans, links and disks that fail, and rules over what is seen of a process."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fleet.sim.faults.record import Record
from fleet.sim.faults.rules import check
from tests.faults.real.links import FaultyProxy, running_loop
from tests.faults.real.moments import Moments
from tests.faults.real.plans import OPERATIONS, Kind, Means, planned

ALL = Means(learning=True, database=True)


def test_plan_of_a_seed_is_the_same_again_and_of_another_seed_is_not():
    assert planned(7, ALL) == planned(7, ALL)
    assert planned(7, ALL).steps != planned(8, ALL).steps


def test_plans_have_six_operations_and_four_to_eight_faults_of_every_kind():
    plans = [planned(seed, ALL) for seed in range(200)]
    assert {len(plan.steps) - len(plan.faults) for plan in plans} == {6}
    assert {len(plan.faults) for plan in plans} == set(range(4, 9))
    assert {step.kind for plan in plans for step in plan.faults} == set(Kind) - OPERATIONS
    hurt = {step.who for plan in plans for step in plan.steps if step.kind in (Kind.KILL, Kind.STOP)}
    assert hurt == {"coordinator", "superlink", "superexec"} | {
        f"{kind}-{n}" for kind in ("node", "supernode") for n in (1, 2, 3)
    }


def test_plan_of_a_fleet_without_learning_plane_and_postgresql_concerns_neither():
    steps = [step for seed in range(100) for step in planned(seed, Means()).steps]
    assert not any(step.kind in (Kind.LEARN, Kind.DATABASE_KILLED, Kind.DATABASE_RESTARTED) for step in steps)
    assert not any(step.who.startswith("super") for step in steps)


class Ends:
    """A connection through a proxy: what a client holds, what a server holds."""

    def __init__(self, proxy: FaultyProxy, server: socket.socket) -> None:
        host, _, port = proxy.address.rpartition(":")
        self.client = socket.create_connection((host, int(port)), timeout=10)
        self.server, _ = server.accept()
        self.server.settimeout(10)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def proxy() -> Iterator[tuple[FaultyProxy, Ends]]:
    with (
        running_loop() as loop,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        proxy = FaultyProxy(loop, listener, "{}:{}".format(*server.getsockname()))
        ends = Ends(proxy, server)
        yield proxy, ends
        ends.close()
        proxy.close()


def test_half_open_link_loses_what_one_side_sends(proxy):
    proxy, ends = proxy
    proxy.lost = frozenset({"up"})
    ends.client.sendall(b"lost")
    ends.server.sendall(b"heard")
    assert ends.client.recv(16) == b"heard"
    proxy.lost = frozenset()
    ends.client.sendall(b"after")
    assert ends.server.recv(16) == b"after"


def test_reset_link_is_reset_on_both_sides(proxy):
    proxy, ends = proxy
    ends.client.sendall(b"there")
    assert ends.server.recv(16) == b"there"
    proxy.reset()
    for side in (ends.client, ends.server):
        with pytest.raises(ConnectionResetError):
            side.recv(16)


@pytest.fixture
def moments() -> Moments:
    return Moments()


@pytest.fixture
def record(moments) -> Record:
    return Record(moments, lease_s=4.0)


def see(record: Record, **changed: object) -> None:
    """Note what was seen of a node."""
    nobody = frozenset[str]()
    sets = dict.fromkeys(("named", "active", "head", "lora", "kept", "keys", "tombstones"), nobody)
    record.note("seen", "node-1", **{"serving": True, "generation": 1, "connected": True, **sets, **changed})


def broken(record: Record) -> list[str]:
    return [violation.rule for violation in check(record)]


def test_process_that_serves_after_the_end_of_its_lease_breaks_a_promise(record, moments):
    record.note("leased", "node-1", until_s=10.0)
    with moments.as_of(9.9):
        see(record)
    assert broken(record) == []
    with moments.as_of(10.1):
        see(record)
    assert broken(record) == ["S1"]


def test_process_that_names_the_forgotten_longer_than_a_lease_breaks_a_promise(record, moments):
    with moments.as_of(2.0):
        record.note("forgotten", "", generation=2, tag="a", tags=("a",))
    record.note("leased", "node-1", until_s=10.0)
    with moments.as_of(5.9):
        see(record, named=frozenset({"a"}))
    assert broken(record) == []
    with moments.as_of(6.1):
        see(record, named=frozenset({"a"}))
    assert broken(record) == ["F1"]
