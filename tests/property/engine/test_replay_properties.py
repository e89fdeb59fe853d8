"""Whoever enters when, whichever nodes miss rounds, and in whatever order people leave: replay is exact."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.lab.replay.cohort import train_cohort
from fleet.lab.replay.cohort_state import CohortState
from fleet.lab.replay.forgetting import forget_by_replay
from tests.unit.engine.cohort_fleet import HIDDEN, NODES, PLACES, RECIPE, checkpoints_in, plan_of, samples_of, starts_of

SHORT = replace(RECIPE, steps=2)


@pytest.fixture(scope="module")
def nodes():
    return samples_of()


@st.composite
def histories(draw: st.DrawFn):
    """A plan, and who leaves in which order."""
    people = draw(st.lists(st.sampled_from(sorted(PLACES)), min_size=1, unique=True))
    entries = {tag: draw(st.integers(0, SHORT.rounds - 1), label=f"entry of {tag}") for tag in people}
    taking = tuple(tuple(draw(st.lists(st.sampled_from(NODES), min_size=1, unique=True))) for _ in range(SHORT.rounds))
    leaving = draw(st.permutations(people))[: draw(st.integers(1, len(people)))]
    return replace(plan_of(entries, SHORT), participation=taking), leaving


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_forgets_in_any_order_leave_the_cohort_that_never_knew_them(nodes, history):
    plan, leaving = history
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = checkpoints_in(Path(folder))
        train_cohort(plan, nodes, starts_of(nodes), on_checkpoint=lambda n, state: checkpoints.save(0, n, state))
        for tag in leaving:
            result = forget_by_replay(plan, nodes, starts_of(nodes), checkpoints, tag)
            plan = result.plan
            made: dict[int, str] = {}

            def note(number: int, state: CohortState, to: dict[int, str] = made) -> None:
                to[number] = state.digest()

            never = train_cohort(plan, nodes, starts_of(nodes), on_checkpoint=note)
            assert result.state.digest() == never.digest()
            assert {n: checkpoints.load(0, n).digest() for n in checkpoints.rounds(0)} == made
            assert result.work.node_steps == plan.node_steps(result.first_round)


@settings(max_examples=50, deadline=None)
@given(
    tags=st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=5),
    seed=st.integers(0, 2**31 - 1),
    rank=st.integers(1, 9),
)
def test_states_survive_their_bytes_and_differ_in_their_digests(tags, seed, rank):
    generator = torch.Generator().manual_seed(seed)
    shape = {"low": -(2**31), "high": 2**31, "dtype": torch.int32, "generator": generator}
    names = tuple(sorted(tags))
    state = CohortState(
        names, torch.randint(size=(HIDDEN, rank), **shape), torch.randint(size=(len(names), HIDDEN), **shape)
    )

    again = CohortState.from_bytes(state.to_bytes())

    assert again.digest() == state.digest()
    other = state.hidden.clone()
    other[-1, -1] ^= 1
    assert replace(state, hidden=other).digest() != state.digest()
