"""Stories in which every durable step of a fleet is taken, and that end in the same whoever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reram_fleet.crypto.sealing import open_symmetric, seal_symmetric
from reram_fleet.v1 import operator_pb2, types_pb2
from reram_fleet.v1.node_pb2 import ConnectRequest, Heartbeat

from fleet.coordinator.at_rest import contribution_at_rest, subject_key_id
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB
from tests.unit.kills.fleet_that_dies import FleetThatDies
from tests.unit.kills.kills import Kills

Story = Callable[[FleetThatDies], None]


def people(fleet: FleetThatDies) -> None:
    """Two nodes and two people."""
    fleet.add_node("node-1")
    fleet.add_node("node-2")
    fleet.enrol(ANN, 0, "node-1", "node-2")
    fleet.enrol_again(ANN, 0, "node-1")
    fleet.enrol(BOB, 1, "node-2")
    fleet.settle()


def forgets(fleet: FleetThatDies) -> None:
    """Forgets with a node that lies, one that is lost and comes back, and one that is retired."""
    people(fleet)
    fleet.add_node("node-3")
    fleet.enrol(CEM, 2, "node-3")
    fleet.enrol(DEB, 3, "node-1")
    fleet.settle()
    _nonsense(fleet)
    first = _lied_about(fleet)
    second = _without_the_lost(fleet)
    third = _without_the_retired(fleet)
    _of_an_earlier_version(fleet)
    for campaign_id in (first, second, third):
        fleet.check_converged(campaign_id)
    fleet.check()


def _nonsense(fleet: FleetThatDies) -> None:
    beyond = ConnectRequest(heartbeat=Heartbeat(lease_nonce=bytes(16), generation=99))
    fleet.alive(lambda: fleet.coordinator.take("node-1", beyond))


def _lied_about(fleet: FleetThatDies) -> str:
    liar = fleet.nodes["node-2"]
    liar.amend = lambda receipt: receipt.ClearField("active_adapters")
    campaign = fleet.forget_after_a_failure(ANN)
    fleet.settle_until(lambda: fleet.states(campaign)["node-2"] == "held")
    liar.amend = lambda receipt: None
    fleet.decide("ReleaseNode", operator_pb2.ReleaseNodeRequest(node_id="node-2", reason="looked at"))
    fleet.settle_until(lambda: fleet.get_forget(campaign).state == "converged")
    return campaign


def _without_the_lost(fleet: FleetThatDies) -> str:
    fleet.unplug("node-3")
    campaign = fleet.forget(BOB)
    fleet.settle()
    fleet.clock.advance(fleet.coordinator.coordinator.env.settings.lost_after_s + 1)
    fleet.settle_until(lambda: fleet.states(campaign)["node-3"] == "lost")
    fleet.online.add("node-3")
    fleet.settle_until(lambda: fleet.states(campaign)["node-3"] == "verified")
    return campaign


def _without_the_retired(fleet: FleetThatDies) -> str:
    node = fleet.nodes["node-3"]
    # It hears of the forget, and is cut off before it is ordered to erase.
    node.says = lambda message: None if message.HasField("receipt") else message
    campaign = fleet.forget(CEM)
    fleet.settle()
    again = operator_pb2.RetryForgetRequest(node_id="node-3", campaign_id=campaign, reason="says nothing")
    fleet.decide("RetryForget", again)
    fleet.unplug("node-3")
    fleet.call("RetireNode", operator_pb2.RetireNodeRequest(node_id="node-3", reason="broken"))
    fleet.settle()
    return campaign


def _of_an_earlier_version(fleet: FleetThatDies) -> None:
    """Bind a person's row to nothing but the person, as earlier versions did; the next start binds it."""
    secrets, key_id = fleet.coordinator.coordinator.env.secrets, subject_key_id(DEB)
    fleet.kills.asleep = True
    with fleet.coordinator.transaction() as unit:
        (row,) = [row for row in unit.tx.subjects.contributions() if row.tag == DEB]
        purpose = contribution_at_rest(row.tag, row.node_id, row.sequence)
        plaintext = open_symmetric(secrets.get(key_id), purpose, row.ciphertext)
        unit.tx.subjects.reseal(row.tag, row.node_id, seal_symmetric(secrets.get(key_id), key_id, plaintext))
    fleet.kills.asleep = False
    fleet.restart()
    fleet.settle()


def learning(fleet: FleetThatDies) -> None:
    """A shared LoRA is learned while Flower dies, repaired after a forget, and dropped."""
    people(fleet)
    fleet.call("StartLearning", _train(types_pb2.LEARNING_KIND_TRAIN_LORA, "teach"))
    fleet.flower_dies()
    fleet.run_jobs()
    fleet.settle()
    campaign = fleet.forget(ANN)
    fleet.settle()
    fleet.run_jobs()
    fleet.settle()
    fleet.check_converged(campaign)
    fleet.call("DropLora", operator_pb2.DropLoraRequest())
    fleet.settle()
    fleet.check()


def cohorts(fleet: FleetThatDies) -> None:
    """Cohort shards are trained and audited, and replayed after a forget."""
    people(fleet)
    fleet.call("StartLearning", _train(types_pb2.LEARNING_KIND_TRAIN_COHORT, "teach", shards=2))
    fleet.run_jobs()
    fleet.call("AuditCohort", operator_pb2.AuditCohortRequest(shard=0))
    fleet.run_jobs()
    campaign = fleet.forget(BOB)
    fleet.settle()
    fleet.run_jobs()
    fleet.settle()
    fleet.check_converged(campaign)
    fleet.check()


def restores(fleet: FleetThatDies) -> None:
    """The coordinator goes back to a backup, and goes on without a node that then comes back."""
    people(fleet)
    backup = fleet.backup()
    campaign = fleet.forget(ANN)
    fleet.enrol(CEM, 2, "node-1")
    fleet.settle()
    fleet.unplug("node-2")
    fleet.clock.advance(3600)
    fleet.go_back(backup)
    fleet.settle()
    fleet.decide("AcceptRestore", operator_pb2.AcceptRestoreRequest(reason="in a drawer"))
    fleet.online.add("node-2")
    fleet.settle_until(lambda: fleet.get_forget(campaign).state == "converged")
    fleet.settle()
    fleet.check_converged(campaign)
    fleet.check()


def _train(kind: types_pb2.LearningKind, request_id: str, shards: int = 0) -> operator_pb2.StartLearningRequest:
    return operator_pb2.StartLearningRequest(kind=kind, request_id=request_id, rounds=2, shards=shards)


STORIES: dict[str, Story] = {"forgets": forgets, "learning": learning, "cohorts": cohorts, "restores": restores}


def live(name: str, folder: Path, kills: Kills, database: str | None = None) -> None:
    """Live through a story."""
    fleet = FleetThatDies(folder, kills, database)
    try:
        STORIES[name](fleet)
    finally:
        fleet.close()
