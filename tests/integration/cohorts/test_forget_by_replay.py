"""Forgetting somebody of a cohort: what is left is, to the bit, a fleet in which they never were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flwr.supercore.task_identity import TaskIdentity

from fleet.coordinator import cohort_audit, cohort_rounds, cohorts, job_rounds, jobs
from fleet.coordinator.views import verdicts_of
from fleet.domain.learning import JobKind
from fleet.errors import ConflictError, NotFoundError
from tests.integration.cohorts.cohort_fleet import SHARDS, CohortFleet, DirectClient, samples_of, tags_in

NODES = ("n1", "n2", "n3")
ANN, BOB, CEM, DEB = tags_in(0, 4)
EVE, FAY = tags_in(1, 2)
#: Everybody shares a node with everybody else of their shard: else rows would not depend on each other.
AT = {ANN: ("n1", "n2"), BOB: ("n2", "n3"), CEM: ("n3", "n1"), DEB: ("n2", "n3"), EVE: ("n1", "n2"), FAY: ("n2", "n3")}


@dataclass
class Clock:
    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


CLOCK = Clock()


def build(folder: Path, *absent: str) -> CohortFleet:
    """Train two rounds; Cem enters; two more; Deb is enrolled too late to be in anything."""
    fleet = CohortFleet.make(folder, CLOCK, NODES)
    first = {tag: AT[tag] for tag in (ANN, BOB, EVE, FAY) if tag not in absent}
    fleet.enrol(first)
    fleet.train("t1")
    fleet.enrol({tag: AT[tag] for tag in (CEM,) if tag not in absent})
    fleet.train("t2")
    return fleet


@pytest.fixture(scope="module", autouse=True)
def task_identity() -> Iterator[None]:
    """Flower builds messages only inside a task."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_task_id", "_run_id", "_node_id"):
            patch.setattr(TaskIdentity, name, 1)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> CohortFleet:
    """Return a trained fleet, closed: to be copied."""
    fleet = build(tmp_path_factory.mktemp("trained") / "fleet")
    fleet.coordinator.close()
    return fleet


@pytest.fixture(scope="module")
def never(tmp_path_factory) -> Callable[..., dict[str, list[int]]]:
    """Return the rows of a fleet in which somebody never was."""
    known: dict[tuple[str, ...], dict[str, list[int]]] = {}

    def rows(*absent: str) -> dict[str, list[int]]:
        if absent not in known:
            fleet = build(tmp_path_factory.mktemp("never") / "fleet", *absent)
            known[absent] = fleet.rows()
            fleet.coordinator.close()
        return known[absent]

    return rows


@pytest.fixture
def fleet(trained, tmp_path):
    fleet = trained.copy(tmp_path / "fleet")
    yield fleet
    fleet.coordinator.close()


def basis(fleet: CohortFleet, campaign_id: str) -> tuple[int, str]:
    with fleet.coordinator.transaction() as tx:
        found = {v.adapter_kind: v for v in verdicts_of(tx, tx.forgets.get(campaign_id))}
        where = [(e.node_id, e.state, e.detail) for e in tx.forgets.executions(campaign_id)]
    assert set(found) == {"subject-adapter", "cohort-lora"}, where
    return found["cohort-lora"].verdict, found["cohort-lora"].basis


def audited(fleet: CohortFleet, shard: int) -> dict:
    with fleet.coordinator.transaction() as tx:
        cohort_audit.start(fleet.coordinator.coordinator, tx, shard)
    fleet.run()
    return dict(fleet.shard(shard).audit)


def test_training_gives_everybody_a_row_and_logs_what_decides_it(fleet):
    assert set(fleet.rows()) == {ANN, BOB, CEM, EVE, FAY}
    assert all(any(codes) for codes in fleet.rows().values())
    history = fleet.shard(0).history
    assert history.entries == {ANN: 0, BOB: 0, CEM: 2}
    assert [set(entry.nodes) for entry in history.log] == [set(NODES)] * 4
    assert {name for entry in history.log for name in entry.nodes.values()} == {"simulated"}
    assert history.log[0].inputs == history.log[1].inputs != history.log[2].inputs == history.log[3].inputs
    assert fleet.checkpoints() == {(0, 2)}


@pytest.mark.parametrize("person", [ANN, CEM], ids=["a founder", "a later entrant"])
def test_forgotten_person_has_left_no_trace_in_anybodys_row(fleet, never, person):
    with_them = fleet.rows()
    campaign = fleet.forget(person)
    assert set(fleet.rows()) == {EVE, FAY}, "rows that were trained with the person leave at once"
    fleet.run()
    rows = fleet.rows()
    assert rows == never(person)
    assert rows[BOB] != with_them[BOB]
    assert {tag: rows[tag] for tag in (EVE, FAY)} == {tag: with_them[tag] for tag in (EVE, FAY)}
    verdict, grounds = basis(fleet, campaign)
    assert verdict == 1
    first = {ANN: 0, CEM: 2}[person]
    assert f"shard 0 of 2 was trained again without the person from round {first} to 3" in grounds
    assert "environment simulated" in grounds
    with fleet.coordinator.transaction() as tx:
        assert cohorts.digest_of(cohorts.rows_of(fleet.coordinator.coordinator, tx, 0)) in grounds


def test_forgets_one_after_the_other_end_where_neither_ever_was(fleet, never):
    for person in (CEM, ANN):
        fleet.forget(person)
        fleet.run()
    assert fleet.rows() == never(ANN, CEM) or fleet.rows() == never(CEM, ANN)
    assert fleet.checkpoints() == set()


def test_checkpoints_that_knew_the_person_are_destroyed_with_the_commit(fleet):
    with fleet.coordinator.transaction() as tx:
        (old,) = tx.cohorts.checkpoints()
    fleet.coordinator.forget("f", ANN)
    assert fleet.checkpoints() == set()
    assert not fleet.coordinator.coordinator.secrets.exists(old.key_id)
    fleet.settle()
    fleet.run()
    assert fleet.checkpoints() == {(0, 2)}, "the later entrant's checkpoint is made anew, without the person"


def test_checkpoint_from_before_the_person_is_what_the_replay_starts_from(fleet):
    fleet.coordinator.forget("f", CEM)
    assert fleet.checkpoints() == {(0, 2)}
    fleet.settle()
    with fleet.coordinator.transaction() as tx:
        (job,) = tx.cohorts.open_jobs()
        assert (job.first_round, tx.learning.get(job.job_id).rounds) == (2, 2)
    fleet.run()
    assert fleet.checkpoints() == set(), "nobody enters there any more"


def test_forget_converges_while_the_replay_waits_and_says_so(fleet):
    fleet.unplug("n3")
    campaign, _ = fleet.coordinator.forget("f", ANN)
    fleet.settle()
    assert fleet.begin() is None
    with fleet.coordinator.transaction() as tx:
        states = {e.node_id: e.state for e in tx.forgets.executions(campaign.campaign_id)}
    assert (states["n1"], states["n2"]) == ("verified", "verified")
    fleet.online.add("n3")
    fleet.run()
    assert basis(fleet, campaign.campaign_id)[0] == 1


def test_verdict_before_the_replay_rests_on_the_rows_being_gone(fleet):
    verdict, grounds = basis(fleet, fleet.forget(ANN))
    assert verdict == 1
    assert "all rows of shard 0 of 2 left the fleet" in grounds
    assert "not done yet" in grounds


def test_logged_node_out_of_reach_is_awaited_then_the_log_says_what_happened(fleet, tmp_path):
    fleet.unplug("n3")
    campaign = fleet.forget(ANN)
    assert fleet.begin() is None
    CLOCK.now_ms += cohort_rounds.LOGGED_WAIT_MS
    fleet.run()
    assert [set(entry.nodes) for entry in fleet.shard(0).history.log] == [{"n1", "n2"}] * 4
    assert all(entry.rewritten for entry in fleet.shard(0).history.log)
    fleet.online.add("n3")
    fleet.settle()
    assert "in round 0, 1, 2, 3 a logged node was out of reach" in basis(fleet, campaign)[1]
    # Had she never been and n3 been away: exact under the log as it now stands.
    other = CohortFleet.make(tmp_path / "other", CLOCK, NODES)
    other.enrol({tag: AT[tag] for tag in (BOB, EVE, FAY)})
    other.unplug("n3")
    other.train("t1")
    other.online.add("n3")
    other.enrol({CEM: AT[CEM]})
    other.unplug("n3")
    other.train("t2")
    assert {tag: fleet.rows()[tag] for tag in (BOB, CEM)} == {tag: other.rows()[tag] for tag in (BOB, CEM)}
    other.coordinator.close()


def test_replay_killed_between_rounds_goes_on_to_the_same_bits(fleet, never):
    fleet.forget(ANN)
    client = fleet.begin(rounds=1)
    fleet.play(client)
    with fleet.coordinator.transaction() as tx:
        job = tx.learning.get(client.job_id)
        assert (job.state, job.rounds_done, len(tx.cohorts.job(job.job_id).log)) == ("queued", 1, 1)
    CLOCK.now_ms += 60_000
    fleet.run()
    assert fleet.rows() == never(ANN)


def test_forget_during_a_replay_of_the_same_shard_starts_one_that_covers_both(fleet, never):
    first = fleet.forget(ANN)
    client = fleet.begin(rounds=1)
    second = fleet.forget(CEM)
    with pytest.raises(Exception, match="attempt 1 of job"):
        fleet.play(client)
    fleet.run()
    assert fleet.rows() == never(ANN, CEM) or fleet.rows() == never(CEM, ANN)
    assert "from round 0" in basis(fleet, first)[1]
    assert "from round 2" in basis(fleet, second)[1]


def test_replay_of_another_shard_goes_on_at_the_new_generation(fleet, never):
    fleet.forget(ANN)
    client = fleet.begin(rounds=1)
    fleet.play(client)
    fleet.coordinator.forget("f2", EVE)
    with fleet.coordinator.transaction() as tx:
        job = tx.learning.get(client.job_id)
        assert (job.state, job.generation, job.rounds_done) == ("queued", 2, 1)
    CLOCK.now_ms += 60_000
    fleet.settle()
    fleet.run()
    rows, alone = fleet.rows(), never(ANN)
    assert {tag: rows[tag] for tag in (BOB, CEM)} == {tag: alone[tag] for tag in (BOB, CEM)}
    assert rows[FAY] != alone[FAY]


def test_training_of_other_shards_does_not_wait_for_a_replay(fleet):
    fleet.unplug("n3")
    fleet.forget(ANN)
    with fleet.coordinator.transaction() as tx:
        made = jobs.start_cohorts(fleet.coordinator.coordinator, tx, "t3", 1, 0)
    assert made.skipped == (0,)
    assert fleet.run() == 1
    assert fleet.shard(1).history.rounds == 5
    assert fleet.shard(0).replay_from == 0


def test_last_person_of_a_shard_leaves_it_empty(fleet):
    for person in (EVE, FAY):
        campaign = fleet.forget(person)
        fleet.run()
    assert set(fleet.rows()) == {ANN, BOB, CEM}
    assert "nobody else was in shard 1" in basis(fleet, campaign)[1]
    assert fleet.shard(1).history.rounds == 0
    fleet.enrol({tags_in(1, 3)[2]: ("n1",)})
    fleet.train("t3", 1)
    assert fleet.shard(1).history.entries == {tags_in(1, 3)[2]: 0}


def test_shard_whose_replay_fails_for_good_is_dropped_and_the_verdict_says_so(fleet):
    campaign = fleet.forget(ANN)
    for _ in range(job_rounds.RETRY.max_attempts):
        CLOCK.now_ms += 60_000
        client = fleet.begin()
        with fleet.coordinator.transaction() as tx:
            job_rounds.finish(fleet.coordinator.coordinator, tx, client.job_id, client.attempt, "no node answered")
    fleet.settle()
    assert set(fleet.rows()) == {EVE, FAY}
    verdict, grounds = basis(fleet, campaign)
    assert verdict == 1
    assert "stay dropped" in grounds
    assert "no node answered" in grounds
    fleet.train("t3", 1)
    assert fleet.shard(0).history.entries == {BOB: 0, CEM: 0}


def test_audit_repeats_a_shard_to_the_bit(fleet):
    before = fleet.rows()
    audit = audited(fleet, 0)
    assert audit["state"] == "reproduced"
    assert [line["name"] for line in audit["lines"]] == [
        "digest of the checkpoint before round 2",
        "digest of the installed rows",
    ]
    assert fleet.rows() == before
    fleet.forget(ANN)
    fleet.run()
    assert audited(fleet, 0)["state"] == "reproduced"


def test_audit_finds_rows_that_their_log_does_not_give(fleet):
    with fleet.coordinator.transaction() as tx:
        lora = cohorts.rows_of(fleet.coordinator.coordinator, tx, 0)
        lora.rows[0].codes[0] += 1
        cohorts.install(fleet.coordinator.coordinator, tx, 0, lora)
    fleet.settle()
    assert audited(fleet, 0)["state"] == "not-reproduced"


def test_audit_without_a_logged_node_is_inconclusive(fleet):
    fleet.unplug("n3")
    with fleet.coordinator.transaction() as tx:
        cohort_audit.start(fleet.coordinator.coordinator, tx, 0)
    assert fleet.run() == 0
    CLOCK.now_ms += cohort_rounds.LOGGED_WAIT_MS
    fleet.run()
    audit = fleet.shard(0).audit
    assert audit["state"] == "inconclusive"
    assert "round 0: computed without n3" in audit["detail"]


def capture_more(fleet: CohortFleet, tag: str, node_id: str) -> None:
    """Capture samples of somebody once more, and report them."""
    node = fleet.nodes[node_id]
    node.codes[tag] = samples_of(tag, f"{node_id} again")
    node.capture(tag, node.codes[tag].sum(dim=0).tolist(), len(node.codes[tag]))
    fleet.coordinator.take(node_id, node.contribution(node.journal.enrolled[tag], sequence=2))


def test_audit_after_more_samples_were_captured_is_inconclusive(fleet):
    capture_more(fleet, BOB, "n2")
    fleet.settle()
    audit = audited(fleet, 0)
    assert audit["state"] == "inconclusive"
    assert "round 0: people of the shard have had samples captured since" in audit["detail"]


def test_round_during_which_samples_were_captured_is_logged_as_mixed(fleet):
    with fleet.coordinator.transaction() as tx:
        (job, _) = jobs.start_cohorts(fleet.coordinator.coordinator, tx, "t3", 2, 0).jobs
        client = DirectClient(fleet, job.job_id, tx.learning.next_attempt(job.job_id).attempt)
    state = client.get_job().sealed_state
    client.begin_round(1)
    capture_more(fleet, BOB, "n2")
    client.report_round(1, state, {}, ["n1", "n2"])
    client.begin_round(2)
    client.report_round(2, state, {}, ["n1", "n2"])
    client.report_round(2, state, {}, ["n1"])
    with fleet.coordinator.transaction() as tx:
        first, second = tx.cohorts.job(client.job_id).log
    assert (first.inputs, set(first.nodes)) == ("", {"n1", "n2"})
    assert second.inputs
    assert set(second.nodes) == {"n1", "n2"}, "a repeated report changes nothing"


def test_node_without_the_newest_people_is_awaited_then_left_out(fleet):
    with fleet.coordinator.transaction() as tx:
        (job, _) = jobs.start_cohorts(fleet.coordinator.coordinator, tx, "t3", 1, 0).jobs
        tx.nodes.touch("n3", revision=1)

    def startable() -> bool:
        with fleet.coordinator.transaction() as tx:
            return job_rounds.startable(fleet.coordinator.coordinator, tx, tx.learning.get(job.job_id))

    assert not startable()
    CLOCK.now_ms += cohort_rounds.INSTALL_WAIT_MS
    assert startable()
    client = fleet.begin()
    assert {node.node_id for node in client.begin_round(1)} == {"n1", "n2"}


def test_audit_is_overtaken_by_a_forget_in_its_shard(fleet):
    with fleet.coordinator.transaction() as tx:
        cohort_audit.start(fleet.coordinator.coordinator, tx, 0)
    fleet.forget(ANN)
    assert fleet.shard(0).audit["state"] == "failed"
    assert "overtaken" in fleet.shard(0).audit["detail"]


def test_shared_and_cohort_lora_exclude_each_other(fleet):
    with fleet.coordinator.transaction() as tx, pytest.raises(ConflictError, match="2 cohort shards"):
        jobs.start(fleet.coordinator.coordinator, tx, "r1", JobKind.TRAIN_LORA, 1)
    with fleet.coordinator.transaction() as tx, pytest.raises(ConflictError, match="2 cohort shards"):
        jobs.start_cohorts(fleet.coordinator.coordinator, tx, "r1", 1, 3)
    with fleet.coordinator.transaction() as tx:
        assert jobs.drop_lora(fleet.coordinator.coordinator, tx)[1] == 5
    fleet.coordinator.destroy_orphaned_keys()
    fleet.settle()
    assert fleet.rows() == {}
    with fleet.coordinator.transaction() as tx:
        jobs.start(fleet.coordinator.coordinator, tx, "r1", JobKind.TRAIN_LORA, 1)
    fleet.run()
    assert set(fleet.rows()) == {ANN, BOB, CEM, EVE, FAY}
    with fleet.coordinator.transaction() as tx, pytest.raises(ConflictError, match="shared LoRA of 5"):
        jobs.start_cohorts(fleet.coordinator.coordinator, tx, "r2", 1, SHARDS)


def test_same_request_again_makes_no_second_jobs(fleet):
    with fleet.coordinator.transaction() as tx:
        first = jobs.start_cohorts(fleet.coordinator.coordinator, tx, "again", 1, 0)
        second = jobs.start_cohorts(fleet.coordinator.coordinator, tx, "again", 1, 0)
    assert [job.job_id for job in first.jobs] == [job.job_id for job in second.jobs]
    assert (first.created, second.created) == (True, False)
    with fleet.coordinator.transaction() as tx, pytest.raises(ConflictError, match="is not finished"):
        jobs.start_cohorts(fleet.coordinator.coordinator, tx, "other", 1, 0)


def test_somebody_enrolled_after_the_training_concerns_no_shard(fleet):
    fleet.enrol({DEB: AT[DEB]})
    before = fleet.rows()
    campaign = fleet.forget(DEB)
    assert fleet.run() == 0
    assert fleet.rows() == before
    with fleet.coordinator.transaction() as tx:
        found = verdicts_of(tx, tx.forgets.get(campaign))
        assert [verdict.adapter_kind for verdict in found] == ["subject-adapter"]


def test_shard_that_is_not_there_cannot_be_audited(fleet):
    with fleet.coordinator.transaction() as tx, pytest.raises(NotFoundError, match="no cohort shard 7"):
        cohort_audit.start(fleet.coordinator.coordinator, tx, 7)
