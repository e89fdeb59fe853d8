"""Leadership: a coordinator that others took for dead, and that goes on, cannot commit."""

import threading

import pytest

from fleet.errors import SupersededError
from fleet.store import Store
from tests.unit.store.kinds import MEMORY, lasting


def test_each_coordinator_that_starts_takes_the_next_epoch(store, clock):
    assert [store.lead("host-a:1"), store.lead("host-a:2")] == [1, 2]
    with store.snapshot() as tx:
        assert vars(tx.leadership.get()) == {"epoch": 2, "holder": "host-a:2", "since_ms": clock.now_ms}


@lasting
def test_a_leader_of_before_cannot_commit(store, url):
    store.lead("host-a:1")
    with Store.open(url) as successor:
        successor.lead("host-b:2")
        with pytest.raises(SupersededError, match="host-b:2 leads this fleet since epoch 2"), store.transaction() as tx:
            tx.nodes.hold("n1", "by the one of before")
        with successor.transaction() as tx:
            tx.nodes.hold("n2", "by the leader")
    with store.snapshot() as tx:
        assert [tx.nodes.get(node_id).held_reason for node_id in ("n1", "n2")] == ["", "by the leader"]


@lasting
def test_a_transaction_of_the_leader_is_over_before_another_leads(store, url):
    store.lead("host-a:1")
    with Store.open(url) as successor:
        with store.transaction() as tx:
            takeover = threading.Thread(target=successor.lead, args=("host-b:2",))
            takeover.start()
            tx.nodes.hold("n1", "in time")
            assert tx.leadership.get().epoch == 1
        takeover.join()
        with successor.snapshot() as tx:
            assert (tx.leadership.get().epoch, tx.nodes.get("n1").held_reason) == (2, "in time")


def test_who_does_not_lead_may_write(store):
    with store.transaction() as tx:
        tx.nodes.hold("n1", "by a tool")


@pytest.mark.parametrize("url", [MEMORY], indirect=True)
def test_a_coordinator_that_takes_the_lead_again_goes_on(store):
    store.lead("host-a:1")
    store.lead("host-a:1")
    with store.transaction() as tx:
        tx.nodes.hold("n1", "at its new epoch")
