"""Audits of cohort shards: repeated to the bit, or inconclusive with a reason."""

from __future__ import annotations

import pytest

from fleet.coordinator.learning import rounds as job_rounds
from fleet.errors import NotFoundError
from tests.integration.cohorts.story import (
    ANN,
    BOB,
    CLOCK,
    audited,
    capture_more,
)


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
    with fleet.coordinator.transaction() as unit:
        lora = unit.cohorts.rows_of(0)
        lora.rows[0].codes[0] += 1
        unit.cohorts.install(0, lora)
    fleet.settle()
    assert audited(fleet, 0)["state"] == "not-reproduced"


def test_audit_without_a_logged_node_is_inconclusive(fleet):
    fleet.unplug("n3")
    with fleet.coordinator.transaction() as unit:
        unit.cohort_jobs.start_audit(0)
    assert fleet.run() == 0
    CLOCK.now_ms += job_rounds.LOGGED_WAIT_MS
    fleet.run()
    audit = fleet.shard(0).audit
    assert audit["state"] == "inconclusive"
    assert "round 0: computed without n3" in audit["detail"]


def test_audit_after_more_samples_were_captured_is_inconclusive(fleet):
    capture_more(fleet, BOB, "n2")
    fleet.settle()
    audit = audited(fleet, 0)
    assert audit["state"] == "inconclusive"
    assert "round 0: people of the shard have had samples captured since" in audit["detail"]


def test_audit_is_overtaken_by_a_forget_in_its_shard(fleet):
    with fleet.coordinator.transaction() as unit:
        unit.cohort_jobs.start_audit(0)
    fleet.forget(ANN)
    assert fleet.shard(0).audit["state"] == "failed"
    assert "overtaken" in fleet.shard(0).audit["detail"]


def test_shard_that_is_not_there_cannot_be_audited(fleet):
    with fleet.coordinator.transaction() as unit, pytest.raises(NotFoundError, match="no cohort shard 7"):
        unit.cohort_jobs.start_audit(7)
