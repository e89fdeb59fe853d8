"""SIGKILL of the coordinator around a forget; its supervisor starts it anew on the same state.

At every durable step, in memory: `tests/unit/kills`.
"""

from __future__ import annotations

import threading

from reram_fleet.crypto.identifiers import new_tag

from fleet.client import UnavailableError
from fleet.domain.execution import SUCCESS
from tests.faults.rig import Rig


def test_acknowledged_forget_outlives_the_coordinator(rig: Rig) -> None:
    tag = rig.enrol(3, nodes=(0, 1))
    before = rig.client.get_fleet()
    request_id = new_tag()
    committed = rig.client.create_forget(request_id, [tag])
    assert committed.created
    dead = rig.kill_coordinator()
    rig.wait_coordinator_after(dead)

    campaign = committed.forget
    done = rig.wait_converged(campaign.campaign_id)
    assert (done.generation, done.request_id) == (before.generation + 1, request_id)
    assert {e.node_id for e in rig.client.list_executions(done.campaign_id).items} == set(rig.fleet.identities)
    assert {count.state for count in done.counts} <= SUCCESS
    again = rig.client.create_forget(request_id, [tag])
    assert (again.created, again.forget.campaign_id) == (False, campaign.campaign_id)
    after = rig.client.get_fleet()
    assert after.generation == before.generation + 1
    assert after.forgets_open == 0
    rig.check_logged_once(done, since=before.log_size)
    for node in range(2):
        rig.fleet.wait_serving(node, 60.0)
        assert tag not in rig.names(node, 3)
        assert rig.names(node, 0) == {rig.kept}


def test_forget_whose_answer_was_lost_is_committed_once_by_asking_again(rig: Rig) -> None:
    tag = rig.enrol(3, nodes=(0,))
    generation = rig.client.get_fleet().generation
    request_id = new_tag()
    pid = rig.fleet.served().pid
    answered: list[str] = []

    def ask() -> None:
        try:
            answered.append(rig.client.create_forget(request_id, [tag]).forget.campaign_id)
        except UnavailableError:
            return

    caller = threading.Thread(target=ask)
    caller.start()
    rig.kill_coordinator()
    caller.join()
    rig.wait_coordinator_after(pid)

    # Whether the first call was committed or not, the caller cannot know; the same id settles it.
    forget = rig.patiently(lambda: rig.client.create_forget(request_id, [tag])).forget
    assert forget.generation == generation + 1
    assert answered in ([], [forget.campaign_id])
    rig.wait_converged(forget.campaign_id)
    assert rig.client.get_fleet().generation == generation + 1
    assert [f.campaign_id for f in rig.client.list_forgets().items if f.request_id == request_id] == [
        forget.campaign_id
    ]
