"""The cost tables of forgets: a line each, shares of the right whole, and what is not exact stands out."""

from dataclasses import replace

import pytest

from tests.bench.workloads import cohort_faces, exact_forgets, forget_costs
from tests.bench.workloads.cohort_faces import ForgetCost
from tests.bench.workloads.exact_forgets import ForgetLine, ForgetsRun, Spent

SPENT = Spent(node_cpu_s=0.004, coordinator_cpu_s=0.3, sent_bytes=100, energy_j=0.25, radio_j=0.2)
RETRAIN = Spent(node_cpu_s=0.02, coordinator_cpu_s=0.6, sent_bytes=800, energy_j=2.0, radio_j=1.0)
LINE = ForgetLine(nodes=2, books_exact=True, head_exact=True, subjects_exact=True, forget=SPENT, retrain=RETRAIN)
COST = ForgetCost(
    shard=3,
    entry_round=5,
    shard_people=4,
    bitwise=True,
    share_by_theory=0.19,
    share_computed=0.19,
    share_of_samples=0.2,
    share_of_cpu=0.21,
    share_of_energy=0.18,
    cpu_s=1.5,
    energy_j=0.04,
)


def rows(table):
    cells = [list(column.cells) for column in table.columns]
    return [list(row) for row in zip(*cells, strict=True)]


def test_head_lines_have_shares_of_a_retrain():
    assert rows(forget_costs.head_table([LINE])) == [["1", "2", "yes", "4.0", "300", "50%", "0.25 J", "12%"]]


@pytest.mark.parametrize("part", ["books_exact", "head_exact", "subjects_exact"])
def test_one_integer_that_differs_makes_a_line_not_exact(part):
    (first, second) = rows(forget_costs.head_table([LINE, replace(LINE, **{part: False})]))

    assert (first[2], second[2]) == ("yes", "NO")


def test_shard_lines_name_shard_and_round():
    assert rows(forget_costs.shard_table([COST])) == [
        ["1", "3", "4", "5", "yes", "1500", "21%", "19%", "0.04 J", "18%"]
    ]


@pytest.mark.parametrize(("bitwise", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_every_forget_was_exact(bitwise, code, monkeypatch, capsys):
    class Run:
        forgets = (COST, replace(COST, bitwise=bitwise))

    monkeypatch.setattr(exact_forgets, "run", lambda seed: ForgetsRun((LINE,)))
    monkeypatch.setattr(cohort_faces, "run", lambda seed: Run)

    assert forget_costs.main(["--seed", "5"]) == code

    said = capsys.readouterr().out
    assert "four shards" in said
    assert ("NO" in said) == (not bitwise)
