"""The claims of the demo, on the arithmetic alone: four chips, four people, one of them forgotten."""

import pytest

from edge_node.tasks.speakers import SPEAKERS
from fleet.lab.verification.forget_trial import leave_outs, run


@pytest.fixture(scope="module", params=SPEAKERS.split.enrolled)
def trial(request):
    return run(SPEAKERS.split, request.param)


def test_kept_people_are_identified_before_and_after_on_every_node(trial):
    assert min(q.accuracy for q in trial.learned) >= 0.95
    assert min(q.accuracy for q in trial.repaired) >= 0.95


def test_forgotten_person_is_treated_like_a_stranger_on_every_node(trial):
    for quality in trial.repaired:
        assert quality.forget_accuracy == 0
        assert quality.forget_accept_rate <= quality.stranger_accept_rate + 0.05


def test_lora_does_not_hurt(trial):
    for closed_form, learned in zip(trial.closed_form, trial.learned, strict=True):
        assert learned.accuracy >= closed_form.accuracy - 0.005
        assert learned.accept_rate >= closed_form.accept_rate
        assert learned.stranger_accept_rate <= closed_form.stranger_accept_rate + 0.02


def test_strangers_are_mostly_refused_and_people_mostly_accepted(trial):
    assert max(q.stranger_accept_rate for q in trial.learned) <= 0.05
    assert min(q.accept_rate for q in trial.learned) >= 0.9


def test_lora_helps_where_the_public_people_give_a_poor_threshold():
    # The public triple whose closed form accepts the fewest of its own people's clips.
    split = next(s for s in leave_outs() if s.public == HARDEST)
    trial = run(split, split.enrolled[0])
    for closed_form, learned in zip(trial.closed_form, trial.learned, strict=True):
        assert learned.accept_rate >= closed_form.accept_rate + 0.2
        assert learned.stranger_accept_rate <= 0.05


HARDEST = ("s02", "s06", "s07")


def test_every_choice_of_public_people_is_among_the_leave_outs():
    splits = leave_outs()
    assert len({s.public for s in splits}) == 84
    assert all(len({*s.public, *s.enrolled, *s.strangers}) == 9 for s in splits)
