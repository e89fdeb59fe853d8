"""A coordinator stands still (SIGSTOP), another takes its fleet over in PostgreSQL, and the first one goes on."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from reram_fleet.crypto.identifiers import new_tag

from fleet.errors import FleetError
from fleet.store import Store
from tests.integration.coordinator.coordinator_process import LIMIT_S, CoordinatorProcess

pytestmark = pytest.mark.postgresql


@pytest.fixture
def leader(tmp_path, postgres_url) -> Iterator[CoordinatorProcess]:
    coordinator = CoordinatorProcess(tmp_path / "leader", postgres_url)
    coordinator.start()
    yield coordinator
    coordinator.kill()


@pytest.fixture
def successor(tmp_path, leader, postgres_url) -> Iterator[CoordinatorProcess]:
    """Return a coordinator with the leader's keys on another machine, so to speak; it is not started."""
    state = shutil.copytree(leader.state, tmp_path / "successor")
    (state / "serve.port").unlink()
    coordinator = CoordinatorProcess(state, postgres_url)
    yield coordinator
    coordinator.kill()


def forget(coordinator: CoordinatorProcess, request_id: str) -> str:
    with coordinator.client() as client:
        return client.create_forget(request_id, [new_tag()], allow_unknown=True).forget.campaign_id


def test_a_leader_that_goes_on_after_it_was_replaced_commits_nothing_and_ends(leader, successor, postgres_url):
    before = forget(leader, "before")
    process = leader.process
    assert process is not None
    refusals: list[FleetError] = []

    def ask() -> None:
        try:
            forget(leader, "of the one that was replaced")
        except FleetError as error:
            refusals.append(error)

    with ExitStack() as going_on:
        process.send_signal(signal.SIGSTOP)
        going_on.callback(process.send_signal, signal.SIGCONT)
        # It waits in the socket of a process that does nothing.
        caller = threading.Thread(target=ask)
        caller.start()
        successor.start()
        after = forget(successor, "after")
    caller.join(LIMIT_S)

    assert process.wait(LIMIT_S) == 4
    assert len(refusals) == 1
    assert "leads this fleet since epoch 2" in (leader.state / "serve.log").read_text()
    with Store.open(postgres_url) as store, store.snapshot() as tx:
        assert tx.leadership.get().epoch == 2
        assert [entry.campaign_id for entry in tx.log.range(0)] == [before, after]
        assert [campaign.request_id for campaign in tx.forgets.list()] == ["before", "after"]
