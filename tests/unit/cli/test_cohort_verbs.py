import pytest
from reram_fleet.v1 import operator_pb2 as operator


def test_learn_start_of_cohorts_makes_a_job_per_shard_and_says_which_it_left_out(cli):
    result = cli.run("learn", "start", "--lora", "cohort", "--shards", "3", "--rounds", "2")
    assert result.exit_code == 0
    assert "2 jobs queued, one per shard" in result.stderr
    assert "Shard 1 is being replayed" in result.stderr


def test_learn_start_of_cohorts_waits_for_every_shard(cli):
    found = cli.json("learn", "start", "--lora", "cohort", "--wait")
    assert [(job["shard"], job["type"], job["state"]) for job in found["items"]] == [
        (0, "train.cohort", "succeeded"),
        (2, "train.cohort", "succeeded"),
    ]


def test_number_of_shards_is_refused_for_a_shared_lora(cli):
    result = cli.run("learn", "start", "--lora", "shared", "--shards", "4")
    assert result.exit_code == 2
    assert "--shards goes with --lora cohort" in result.stderr


def test_cohorts_are_shown_with_all_that_decides_their_rows(cli):
    first, second = cli.json("learn", "cohorts")["items"]
    assert first["entries"] == {"a" * 32: 0}
    assert first["log"] == [{"nodes": ["node-1"], "inputs": "i" * 64, "rewritten": False}]
    assert (first["digest"], first["replay_from"]) == ("00" * 32, None)
    assert (second["digest"], second["replay_from"]) == (None, 0)
    table = cli.run("learn", "cohorts").stdout
    assert "installed" in table
    assert "replayed from round 0" in table


@pytest.mark.parametrize(
    ("state", "code"), [("reproduced", 0), ("not-reproduced", 1), ("failed", 1), ("inconclusive", 8)]
)
def test_audit_of_a_cohort_ends_with_its_verdict(cli, state, code):
    line = operator.CohortAuditLine(name="digest of the installed rows", holds=not code, expected="a", got="b")
    cli.operator.next_audit = operator.CohortAudit(state=state, lines=[line], detail="round 0: another world")
    result = cli.run("audit", "cohort", "--shard", "0")
    assert result.exit_code == code
    assert state.upper().replace("-", " ") in result.stdout
    assert "another world" in result.stderr


def test_audit_that_takes_too_long_is_exit_7(cli):
    cli.operator.next_audit = operator.CohortAudit(state="running")
    assert cli.run("audit", "cohort", "--shard", "0", "--timeout", "0.1").exit_code == 7


def test_audit_of_a_shard_that_is_not_there_is_exit_3(cli):
    assert cli.run("audit", "cohort", "--shard", "5").exit_code == 3


def test_drop_says_what_is_gone(cli):
    found = cli.json("learn", "drop", "--yes")
    assert (found["revision"], found["rows"]) == (9, 5)


def test_drop_asks_first(cli):
    result = cli.run("learn", "drop")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert not cli.operator.dropped
    cli.run("learn", "drop", "--yes")
    assert cli.operator.dropped
