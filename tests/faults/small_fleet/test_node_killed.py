"""SIGKILL of a node daemon before, and in the middle of, a forget; at every step, in memory: `tests/unit/kills`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from reram_fleet.crypto.signing import open_envelope, payload_hash
from reram_fleet.v1 import types_pb2 as types

from fleet.domain.execution import SUCCESS, ExecutionState
from tests.faults.rig import Rig, eventually, paused


def receipts_accepted(rig: Rig, node: int, generation: int) -> list[bytes]:
    """Return the payload hashes of the receipts that a node knows as accepted, from its own journal."""
    path = rig.fleet.nodes[node].state / "journal.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        rows = journal.execute(
            "SELECT envelope FROM receipt WHERE generation = ? AND state = 'accepted'", (generation,)
        ).fetchall()
    return [payload_hash(types.Envelope.FromString(envelope)) for (envelope,) in rows]


def test_node_killed_before_the_forget_serves_nobody_until_it_has_caught_up(rig: Rig) -> None:
    tag = rig.enrol(1, nodes=(0, 1))
    rig.fleet.kill_node(1)
    eventually("the loss is noticed", lambda: not rig.client.get_node("node-2").node.connected)

    campaign = rig.forget(tag)
    eventually("node-1 suppresses", lambda: rig.execution(campaign.campaign_id, 0).state != ExecutionState.PENDING)
    assert rig.execution(campaign.campaign_id, 1).state == ExecutionState.PENDING
    assert tag not in rig.names(0, 1)

    # A coordinator that says nothing: what the node answers now, it answers by itself.
    with paused(rig.fleet.served().pid):
        rig.restart_node(1)
        answer = rig.identify(1, 1)
    assert answer.backbone_only
    assert not answer.answers
    assert answer.generation == campaign.generation - 1

    done = rig.wait_converged(campaign.campaign_id)
    assert {count.state for count in done.counts} <= SUCCESS
    eventually("node-2 serves again", lambda: rig.serves(1))
    assert rig.identify(1, 1).generation == campaign.generation
    assert tag not in rig.names(1, 1)
    assert rig.names(1, 0) == {rig.kept}


def test_node_killed_right_after_the_commit_ends_with_one_accepted_receipt(rig: Rig) -> None:
    _killed_during_a_forget(rig, lambda campaign_id: None)


def test_node_killed_while_it_erases_ends_with_one_accepted_receipt(rig: Rig) -> None:
    def erasing(campaign_id: str) -> None:
        # APPLYING is short: whoever looks too late kills after the receipt, which must do no harm either.
        late = {ExecutionState.APPLYING, *SUCCESS}
        eventually("node-2 erases", lambda: rig.execution(campaign_id, 1).state in late, poll_s=0.02)

    _killed_during_a_forget(rig, erasing)


def _killed_during_a_forget(rig: Rig, wait: Callable[[str], None]) -> None:
    tag = rig.enrol(2, nodes=(1,))
    leaves = rig.client.get_fleet().log_size
    campaign = rig.forget(tag)
    wait(campaign.campaign_id)
    rig.fleet.kill_node(1)
    rig.restart_node(1)
    done = rig.wait_converged(campaign.campaign_id)

    execution = rig.execution(campaign.campaign_id, 1)
    assert execution.state == ExecutionState.VERIFIED
    identity = rig.fleet.identities["node-2"]
    receipt = open_envelope(execution.receipt, types.Receipt, identity.receipt_public_key)
    assert (receipt.generation, receipt.code_samples_erased) == (campaign.generation, 8)
    assert receipt.keys_destroyed >= 1
    rig.check_logged_once(done, since=leaves)
    eventually(
        "the node hears that its receipt is accepted",
        lambda: receipts_accepted(rig, 1, campaign.generation) == [payload_hash(execution.receipt)],
    )
    eventually("node-2 serves again", lambda: rig.serves(1))
    assert tag not in rig.names(1, 2)
