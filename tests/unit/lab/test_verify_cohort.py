"""The cohort's part of a verification, on voices: exact, and found out if the forget was none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.tasks.speakers import SPEAKERS
from fleet.lab.fleets.captured_fleet import CapturedFleet
from fleet.lab.verification import verify_cohort
from fleet.lab.verification.judging import Verdict, judge_exact
from fleet.lab.verification.verify_cohort import CANARY, CohortVerification


@pytest.fixture(scope="module")
def cohorts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_cohort, "HIDDEN", 96)
        patch.setattr(verify_cohort, "MORE_ROUNDS", 3)
        yield CohortVerification(CapturedFleet.of(SPEAKERS, 2, nodes=2), 2, canary_samples=5)


def failed(evidence):
    return [line.name for line in judge_exact(evidence).failed]


def test_a_replayed_person_is_gone_from_every_shard_and_stays_so(cohorts):
    evidence = cohorts.forget("s03")

    judgement = judge_exact(evidence)
    assert judgement.verdict is Verdict.EXACT
    assert judgement.escalation == "nothing to do"
    assert evidence.canary is not None
    assert evidence.canary.named_before.value >= 0.5
    assert evidence.recognised.hits == 0 < evidence.recognised.total
    assert cohorts.replay_cost.energy_j > 0


def test_cutting_the_row_out_is_not_taken_for_forgetting(cohorts, monkeypatch):
    replayed = verify_cohort.forget_by_replay

    def cut_out(plan, nodes, starts, checkpoints, tag):
        """Drop the person's row from the trained cohort and leave the rest as it is."""
        known = verify_cohort.train_cohort(plan, nodes, starts)
        kept = [k for k, other in enumerate(known.tags) if other != tag]
        state = replace(known, tags=tuple(known.tags[k] for k in kept), head=known.head[kept])
        return replace(replayed(plan, nodes, starts, checkpoints, tag), state=state)

    monkeypatch.setattr(verify_cohort, "forget_by_replay", cut_out)
    evidence = cohorts.forget("s03")

    assert "integers as if never enrolled" in failed(evidence)
    assert judge_exact(evidence).verdict is Verdict.NOT_FORGOTTEN
    # Nobody is named as them: the probes alone would have been content.
    assert evidence.recognised.hits == 0


def test_forgetting_the_wrong_person_is_found_out(cohorts, monkeypatch):
    replayed = verify_cohort.forget_by_replay

    def wrong(plan, nodes, starts, checkpoints, tag):
        if tag == CANARY:
            return replayed(plan, nodes, starts, checkpoints, tag)
        return replace(replayed(plan, nodes, starts, checkpoints, tag), state=cohorts._states[cohorts._place(tag)])

    monkeypatch.setattr(verify_cohort, "forget_by_replay", wrong)

    found = failed(cohorts.forget("s03"))

    assert "integers as if never enrolled" in found
    assert "named as the person, held-out samples" in found
