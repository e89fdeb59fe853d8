"""SIGKILL of a node daemon before, and in the middle of, a forget."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from reram_fleet.signing import open_envelope, payload_hash
from reram_fleet.v1 import types_pb2 as types
from rig import Rig, eventually

from edge_node.config import StateFolder
from edge_node.journal import Journal
from edge_node.journal_schema import ReceiptState
from fleet.domain.execution import SUCCESS, ExecutionState


def receipts_accepted(rig: Rig, node: int, generation: int) -> list[bytes]:
    """Return the payload hashes of the receipts that a node knows as accepted, from its own journal."""
    local = rig.fleet.nodes[node]
    journal = Journal.open(StateFolder(local.state).journal, local.node_id)
    try:
        rows = [row for row in journal.receipts(generation) if row.state is ReceiptState.ACCEPTED]
    finally:
        journal.close()
    return [payload_hash(types.Envelope.FromString(row.envelope)) for row in rows]


def test_node_killed_before_the_forget_serves_nobody_until_it_has_caught_up(rig: Rig) -> None:
    tag = rig.enrol(1, nodes=(0, 1))
    rig.fleet.kill_node(1)
    eventually("the loss is noticed", lambda: not rig.client.get_node("node-2").node.connected)

    campaign = rig.forget(tag)
    eventually(
        "node-1 suppresses", lambda: rig.execution(campaign.campaign_id, 0).state != ExecutionState.PENDING
    )
    assert rig.execution(campaign.campaign_id, 1).state == ExecutionState.PENDING
    assert tag not in rig.names(0, 1)

    rig.restart_node(1, connect_delay_s=2.0)
    seen = []

    def caught_up() -> bool:
        seen.append(rig.identify(1, 1, clips=1))
        return not seen[-1].backbone_only

    eventually("node-2 serves again", caught_up)
    behind = [answer for answer in seen if answer.generation < campaign.generation]
    assert behind, "the node had caught up before it could be asked: it must be asked earlier"
    assert all(answer.backbone_only and not answer.answers for answer in behind)
    assert tag not in {a.best_tag for answer in seen for a in answer.answers}

    done = rig.wait_converged(campaign.campaign_id)
    assert {e.state for e in done.executions} <= SUCCESS
    assert rig.names(1, 0) == {rig.kept}


@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.1])
def test_node_killed_right_after_the_commit_ends_with_one_accepted_receipt(rig: Rig, delay_s: float) -> None:
    _killed_during_a_forget(rig, lambda campaign_id: time.sleep(delay_s))


@pytest.mark.parametrize("state", [ExecutionState.SUPPRESSED, ExecutionState.APPLYING])
def test_node_killed_once_it_is_seen_in_a_state_ends_with_one_accepted_receipt(
    rig: Rig, state: ExecutionState
) -> None:
    def until_seen(campaign_id: str) -> None:
        later = set(ExecutionState) - {ExecutionState.PENDING}
        reached = {state} if state is ExecutionState.APPLYING else later
        # APPLYING is short: whoever looks too late kills after the receipt, which must do no harm either.
        reached |= SUCCESS
        eventually("the state is reached", lambda: rig.execution(campaign_id, 1).state in reached)

    _killed_during_a_forget(rig, until_seen)


def _killed_during_a_forget(rig: Rig, wait: Callable[[str], None]) -> None:
    tag = rig.enrol(2, nodes=(1,))
    leaves = rig.client.get_fleet().log_size
    campaign = rig.forget(tag)
    wait(campaign.campaign_id)
    rig.fleet.kill_node(1)
    rig.restart_node(1)
    done = rig.wait_converged(campaign.campaign_id)

    (execution,) = [e for e in done.executions if e.node_id == "node-2"]
    assert execution.state == ExecutionState.VERIFIED
    identity = rig.fleet.identities["node-2"]
    receipt = open_envelope(execution.receipt, types.Receipt, identity.receipt_public_key)
    assert (receipt.generation, receipt.code_samples_erased) == (campaign.generation, 8)
    assert receipt.keys_destroyed >= 1
    # In the log: the command, and one receipt of each node. No second one was taken, or made.
    assert rig.client.get_fleet().log_size == leaves + 1 + len(done.executions)
    eventually(
        "the node hears that its receipt is accepted",
        lambda: receipts_accepted(rig, 1, campaign.generation) == [payload_hash(execution.receipt)],
    )
    eventually("node-2 serves again", lambda: rig.serves(1))
    assert tag not in rig.names(1, 2)
