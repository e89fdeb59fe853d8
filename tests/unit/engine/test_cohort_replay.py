"""Forgetting in a cohort is training without the person: to the bit, at the price that theory says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reram_fleet.cohorts import shard_of
from reram_fleet.errors import KeyFileError

from edge_node.errors import RoundError, StateFolderError
from edge_node.recognition.environment import environment
from fleet.lab.replay.cohort import (
    CohortPlan,
    WorkDone,
    scheduled_participation,
    train_cohort,
)
from fleet.lab.replay.cohort_state import CohortState
from fleet.lab.replay.forgetting import commitment, cost_share, forget_by_replay
from tests.unit.engine.cohort_fleet import (
    ENTRIES,
    HIDDEN,
    NODES,
    RECIPE,
    SEED,
    checkpoints_in,
    plan_of,
    samples_of,
    starts_of,
)


@pytest.fixture(scope="module")
def nodes():
    return samples_of()


@pytest.fixture
def trained(nodes, tmp_path):
    """State and checkpoints of the cohort that knew everybody."""
    checkpoints = checkpoints_in(tmp_path)
    state = train_cohort(
        plan_of(), nodes, starts_of(nodes), on_checkpoint=lambda n, state: checkpoints.save(0, n, state)
    )
    return state, checkpoints


def never_known(nodes, tag):
    """Train from nothing on codes in which the person does not occur."""
    rest = tuple(node.without(tag) for node in nodes)
    made = {}
    state = train_cohort(
        plan_of().without(tag), rest, starts_of(rest), on_checkpoint=lambda n, s: made.update({n: s.digest()})
    )
    return state, made


@pytest.mark.parametrize("tag", sorted(ENTRIES))
def test_after_a_forget_state_and_checkpoints_are_those_of_a_cohort_that_never_knew_the_person(nodes, trained, tag):
    known, checkpoints = trained

    result = forget_by_replay(plan_of(), nodes, starts_of(nodes), checkpoints, tag)

    never, made = never_known(nodes, tag)
    assert result.state.digest() == never.digest() != known.digest()
    assert {n: checkpoints.load(0, n).digest() for n in checkpoints.rounds(0)} == made
    assert tag not in result.state.tags
    assert tag not in result.plan.entries


def test_dropping_the_row_alone_is_not_forgetting(nodes, trained):
    known, _ = trained
    kept = [row for row, tag in enumerate(known.tags) if tag != "bela"]
    masked = CohortState(tuple(known.tags[row] for row in kept), known.hidden, known.head[kept])

    never, _ = never_known(nodes, "bela")

    assert not torch.equal(masked.hidden, never.hidden)
    assert not torch.equal(masked.head, never.head)


def test_the_forgotten_persons_codes_are_not_needed_for_the_replay(nodes, trained):
    _, checkpoints = trained
    gone = tuple(node.without("dora") for node in nodes)

    result = forget_by_replay(plan_of(), gone, starts_of(gone), checkpoints, "dora")

    assert result.state.digest() == never_known(nodes, "dora")[0].digest()


def test_checkpoints_that_knew_the_person_do_not_open_even_from_a_backup(nodes, trained, tmp_path):
    _, checkpoints = trained
    backup = {path: path.read_bytes() for path in checkpoints.folder.iterdir()}

    result = forget_by_replay(plan_of(), nodes, starts_of(nodes), checkpoints, "cleo")

    assert result.erased_rounds == (1, 2)
    for path, content in backup.items():
        path.write_bytes(content)
    for number in result.erased_rounds:
        with pytest.raises((StateFolderError, KeyFileError)):
            checkpoints.load(0, number)


def test_no_file_has_a_row_of_anybody_in_clear(trained):
    _, checkpoints = trained
    content = b"".join(p.read_bytes() for p in checkpoints.folder.parent.rglob("*") if p.is_file())

    assert content
    assert not any(checkpoints.load(0, 2).head[row].numpy().tobytes() in content for row in range(3))
    assert b"anna" not in content


def test_a_replay_that_was_cut_off_is_run_again(nodes, trained):
    _, checkpoints = trained

    def cut(known, entering):
        raise InterruptedError("power failed")

    with pytest.raises(InterruptedError):
        forget_by_replay(plan_of(), nodes, cut, checkpoints, "dora")
    result = forget_by_replay(plan_of(), nodes, starts_of(nodes), checkpoints, "dora")

    assert result.state.digest() == never_known(nodes, "dora")[0].digest()


def test_forgetting_somebody_unknown_destroys_nothing(nodes, trained):
    _, checkpoints = trained

    with pytest.raises(RoundError, match="nobody with the tag 'zoe'"):
        forget_by_replay(plan_of(), nodes, starts_of(nodes), checkpoints, "zoe")

    assert checkpoints.rounds(0) == [0, 1, 2]


def test_without_the_checkpoint_of_the_entry_nothing_is_destroyed(nodes, trained):
    _, checkpoints = trained
    checkpoints.erase(0, 1)

    with pytest.raises(StateFolderError, match="no checkpoint of shard 0 before round 1"):
        forget_by_replay(plan_of(), nodes, starts_of(nodes), checkpoints, "dora")

    assert checkpoints.rounds(0) == [0, 2]


def test_when_the_last_person_leaves_the_cohort_is_empty(nodes, tmp_path):
    plan, checkpoints = plan_of({"anna": 1}), checkpoints_in(tmp_path)
    train_cohort(plan, nodes, starts_of(nodes), on_checkpoint=lambda n, state: checkpoints.save(0, n, state))

    result = forget_by_replay(plan, nodes, starts_of(nodes), checkpoints, "anna")

    assert result.state.digest() == CohortState.empty(HIDDEN, RECIPE.rank).digest()
    assert checkpoints.rounds(0) == []
    assert list(checkpoints.folder.iterdir()) == []


def test_a_forget_costs_what_theory_says(nodes, trained):
    _, checkpoints = trained
    fleet = [replace(plan_of(absent_share=0.0), shard=shard) for shard in range(4)]
    full = WorkDone()
    for plan in fleet:
        train_cohort(plan, nodes, starts_of(nodes), work=full)

    result = forget_by_replay(fleet[0], nodes, starts_of(nodes), checkpoints, "dora")

    assert result.work.node_steps / full.node_steps == cost_share(fleet[0], "dora", fleet)
    assert cost_share(fleet[0], "dora", fleet) == pytest.approx(1 / 4 * (1 - ENTRIES["dora"] / RECIPE.rounds))


def test_a_shard_depends_on_the_tag_alone():
    tags = [f"{k:032x}" for k in range(400)]
    shards = {tag: shard_of(tag, SEED, 4) for tag in tags}

    assert {tag: shard_of(tag, SEED, 4) for tag in reversed(tags[::7])}.items() <= shards.items()
    assert all(70 < list(shards.values()).count(shard) < 130 for shard in range(4))
    assert shards != {tag: shard_of(tag, SEED + 1, 4) for tag in tags}


def test_draws_of_a_node_do_not_depend_on_who_else_is_there():
    alone = scheduled_participation(SEED, 1, ["east", "west"], 40, 0.5)
    together = scheduled_participation(SEED, 1, ["a", "east", "k", "west"], 40, 0.5)

    # A round that everybody would miss is not missed by anybody, so those rounds cannot be compared.
    asked = [(a, t) for a, t in zip(alone, together, strict=True) if len(a) < 2 and len(t) < 4]
    assert len(asked) > 10
    assert all(set(a) == set(t) & {"east", "west"} for a, t in asked if set(t) & {"east", "west"})
    plan = plan_of()
    other = replace(plan, entries={"cleo": 3})
    assert torch.equal(plan.negatives(2, "east", 24), other.negatives(2, "east", 24))
    assert not torch.equal(plan.negatives(2, "east", 24), plan.negatives(2, "west", 24))
    assert not torch.equal(plan.negatives(2, "east", 24), plan.negatives(3, "east", 24))


def test_participation_is_an_input_of_the_state(nodes):
    everybody = replace(plan_of(), participation=(NODES,) * RECIPE.rounds)
    later = (NODES,) * (RECIPE.rounds - 1)
    without = [replace(plan_of(), participation=(taking, *later)) for taking in (NODES[1:], NODES[:2])]

    states = [train_cohort(plan, nodes, starts_of(nodes)) for plan in (everybody, *without)]

    assert states[0].digest() != states[1].digest()
    # In the first round the node west has met nobody who is in it: it adds nothing to the mean.
    assert states[0].digest() == states[2].digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"participation": (("east",),)}, "a plan of 4 rounds"),
        ({"participation": ((),) * 4}, "at least one of the nodes"),
        ({"participation": (("mars",),) * 4}, "at least one of the nodes"),
        ({"entries": {"anna": 4}}, "one of the rounds 0 to 3"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(RoundError, match=message):
        replace(plan_of(), **change)


def test_people_without_codes_and_foreign_nodes_are_refused(nodes):
    with pytest.raises(RoundError, match="no node has captured codes of zoe"):
        train_cohort(plan_of({"zoe": 0}), nodes, starts_of(nodes))
    with pytest.raises(RoundError, match="the plan has nodes"):
        train_cohort(plan_of(), nodes[::-1], starts_of(nodes))


def test_commitments_bind_person_node_codes_and_salt(nodes):
    salt = bytes(32)
    first = commitment(salt, "bela", nodes[0])

    assert first == commitment(salt, "bela", nodes[0])
    changed = nodes[0].people["bela"].inputs.clone()
    changed[0, 0] += 1
    other = replace(nodes[0].people["bela"], inputs=changed)
    assert (
        len(
            {
                first,
                commitment(bytes(31) + b"\1", "bela", nodes[0]),
                commitment(salt, "bela", nodes[1]),
                commitment(salt, "anna", nodes[0]),
                commitment(salt, "", nodes[0]),
                commitment(salt, "bela", replace(nodes[0], people={"bela": other})),
                commitment(salt, "bela", replace(nodes[0], node_id="mars")),
            }
        )
        == 7
    )


def test_the_environment_hash_follows_the_number_of_threads():
    before = environment()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert environment()["hash"] != before["hash"]
    finally:
        torch.set_num_threads(threads)
    assert environment() == before


def test_plans_of_other_shards_have_other_streams(nodes):
    plan = plan_of()
    other = CohortPlan(SEED, 1, RECIPE, NODES, plan.participation, ENTRIES)

    assert train_cohort(plan, nodes, starts_of(nodes)).digest() != train_cohort(other, nodes, starts_of(nodes)).digest()
