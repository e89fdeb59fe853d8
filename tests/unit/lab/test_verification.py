"""Verification on the product's fleet, on voices: exact, and found out if the forget was none."""

from __future__ import annotations

from pathlib import Path

import pytest
from reram_fleet.wire.shared_lora import without

from edge_node.tasks.speakers import SPEAKERS
from fleet.coordinator.learning.cohort_jobs import CohortJobs
from fleet.lab.verification import verify
from fleet.lab.verification.evidence import AdapterKind
from fleet.lab.verification.judging import Verdict, judge_exact
from fleet.lab.verification.verify import Verification, chosen

GONE = 1


@pytest.fixture(scope="module")
def fleets(tmp_path_factory):
    """A fleet with everybody, and one that never had a person and the canary; both with cohorts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "ROUNDS", 1)
        patch.setattr(verify, "MORE_ROUNDS", 1)
        found = Verification(SPEAKERS, 1, Path(tmp_path_factory.mktemp("fleets")), lambda text: None)
        everybody = (*found.people, found.canary)
        fleet = found.with_cohorts(everybody)
        codes = {number: fleet.capture(number) for number in everybody}
        never = found.with_cohorts([k for k in found.people if k != GONE])
        yield found, fleet, never, codes
        fleet.close()
        never.close()


@pytest.fixture
def forgotten(fleets):
    """What is found once a copy of the fleet has forgotten them, by kind of adapter."""
    found, fleet, never, codes = fleets

    def forget():
        evidence = found.forget_exactly(fleet.copy(), never.copy(), GONE, codes)
        return {one.kind: one for one in evidence}

    return forget


def failed(evidence):
    return [line.name for line in judge_exact(evidence).failed]


def test_person_is_gone_from_every_node_and_stays_so_though_one_comes_back_from_a_backup(fleets, forgotten):
    by_kind = forgotten()

    assert set(by_kind) == {AdapterKind.SUBJECT, AdapterKind.HEAD, AdapterKind.COHORT}
    for evidence in by_kind.values():
        assert judge_exact(evidence).verdict is Verdict.EXACT
        assert evidence.canary.named_before.value >= 0.5
        assert evidence.recognised.hits == 0 < evidence.recognised.total
    assert by_kind[AdapterKind.COHORT].later.equal
    spent = fleets[0].spent
    assert spent.cell_writes == 0
    assert min(spent.energy_j[phase] for phase in spent.energy_j if phase.value in ("train", "erase", "radio")) > 0


def test_cutting_the_row_out_is_not_taken_for_forgetting(fleets, forgotten, monkeypatch):
    fleet = fleets[1]
    shards = {fleet.shard_of(number): None for number in fleet.people}
    known = {shard: fleet.rows_of(shard) for shard in shards}
    replayed = CohortJobs._replayed

    def cut_out(self, job, found, lora):
        """Install what was trained with the person, less their row."""
        return replayed(self, job, found, without(known[found.shard], set(fleet.tags) - set(job.tags)))

    monkeypatch.setattr(CohortJobs, "_replayed", cut_out)
    cohort = forgotten()[AdapterKind.COHORT]

    assert "integers as if never enrolled" in failed(cohort)
    assert judge_exact(cohort).verdict is Verdict.NOT_FORGOTTEN
    # Nobody is named as them: the probes alone would have been content.
    assert cohort.recognised.hits == 0


def test_forgetting_somebody_else_is_found_out(fleets, forgotten, monkeypatch):
    _, fleet, *_ = fleets
    forget, other = type(fleet).forget, GONE + 1

    monkeypatch.setattr(type(fleet), "forget", lambda self, number, canary: forget(self, other, canary))

    for evidence in forgotten().values():
        assert "integers as if never enrolled" in failed(evidence)
        assert "named as the person, held-out samples" in failed(evidence)


def test_who_is_held_on_nodes_is_seen_whatever_they_answer(fleets):
    _, fleet, never, _ = fleets

    assert fleet.held(GONE).hits == fleet.held(GONE).total > 0
    assert never.held(GONE).hits == 0


def test_people_to_forget_are_drawn_by_the_seed():
    people = range(9)
    assert len(set(chosen(1, people, 3))) == 3
    assert chosen(1, people, 3) == chosen(1, people, 5)[:3]
    assert len({tuple(chosen(seed, people, 5)) for seed in range(5)}) > 1
