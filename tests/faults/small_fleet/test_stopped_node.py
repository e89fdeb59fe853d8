"""A node that is there and says nothing, while somebody is forgotten: what an operator is told of it."""

from __future__ import annotations

from reram_fleet.crypto.identifiers import new_tag

from fleet.domain.execution import SUCCESS, ExecutionState
from tests.faults.rig import Rig, eventually, paused


def test_forget_tells_that_a_stopped_node_may_serve_until_its_lease_ends(rig: Rig) -> None:
    running = rig.fleet.nodes[1].running()
    assert running is not None
    with paused(running.pid):
        forget = rig.client.create_forget(new_tag(), [new_tag()], allow_unknown=True).forget
        eventually("node-1 suppresses", lambda: rig.execution(forget.campaign_id, 0).state != ExecutionState.PENDING)
        (late,) = rig.client.get_forget(forget.campaign_id).may_serve
        assert late.node_id == "node-2"
        assert late.until_unix_ms == rig.client.get_node("node-2").node.lease_until_unix_ms
        shown = rig.cli("forget", "show", forget.campaign_id)
        assert "node-2 was last heard of at" in shown.stdout
        assert "waits for" in shown.stdout
        waited = rig.cli("forget", "watch", forget.campaign_id, "--timeout", "1")
        assert (waited.returncode, "node-2 (pending)" in waited.stderr) == (7, True)
    done = rig.wait_converged(forget.campaign_id)
    assert {count.state for count in done.counts} <= SUCCESS
    assert not done.may_serve
    eventually("node-2 serves again", lambda: rig.serves(1))
