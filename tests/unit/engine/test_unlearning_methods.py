"""Unlearning methods on a made-up objective of two people: what each does to the one to be forgotten."""

import pytest
import torch
from torch.nn import functional

from edge_node.errors import EngineError
from fleet.lab.paper.methods import (
    METHODS,
    Descent,
    GradientAscent,
    NegativeGradient,
    RandomLabel,
    drawn_labels,
    mean_of_present,
    method_named,
)

PEOPLE = 4
FORGOTTEN = 1


class Rows:
    """A LoRA of rows only, float32 [N, K, F], on made-up samples: person k's samples are near axis k.

    The second node has no sample of the forgotten person.
    """

    forgotten_class = FORGOTTEN
    classes = PEOPLE

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        labels = torch.arange(PEOPLE).repeat_interleave(5)
        samples = 3 * functional.one_hot(labels, 6).float() + 0.3 * torch.randn(20, 6, generator=generator)
        kept = labels != FORGOTTEN
        strangers = 3 * torch.eye(6)[[4, 5] * 4] + 0.3 * torch.randn(8, 6, generator=generator)
        own = functional.one_hot(labels[kept], PEOPLE).float()
        self.retained = torch.cat([samples[kept], strangers])
        self.target = torch.cat([own, torch.zeros(8, PEOPLE)])
        self.forgotten = samples[~kept].expand(2, -1, -1)
        self.strangers = strangers
        self.present = torch.tensor([[True] * 5, [False] * 5])
        rows = 2 * torch.eye(PEOPLE, 6)
        self.start = (rows.expand(2, -1, -1).clone(),)

    def logits(self, adapter, samples):
        return samples @ adapter[0].mT - 3

    def retained_loss(self, adapter):
        logits = self.logits(adapter, self.retained)
        target = self.target.expand_as(logits)
        losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return losses.mean(dim=(1, 2))

    def forgotten_loss(self, adapter):
        return functional.softplus(-self.logits(adapter, self.forgotten)[..., FORGOTTEN])

    def public_loss(self, adapter):
        return functional.softplus(-self.logits(adapter, self.strangers)[..., FORGOTTEN]).mean(dim=1)

    def relabelled_loss(self, adapter, labels):
        logits = self.logits(adapter, self.forgotten)
        target = functional.one_hot(labels, PEOPLE).float()
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=2)


@pytest.fixture
def rows():
    return Rows()


def forgotten_loss(rows, adapter):
    return float(rows.forgotten_loss(adapter)[0].mean())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_the_person_unknown_and_keeps_the_others(rows, name):
    method = method_named(name)
    longer = type(method)(descent=Descent(steps=60, learning_rate=0.1))

    after = longer.repair(rows, rows.start, seed=1)

    assert forgotten_loss(rows, rows.start) < 0.1
    assert forgotten_loss(rows, after) > 2.0
    kept = rows.logits(after, rows.retained)[0][:15]
    assert bool((kept.argmax(dim=1) == rows.target[:15].argmax(dim=1)).all())


def test_hinge_ends_where_strangers_are_and_ascent_does_not(rows):
    descent = Descent(steps=200, learning_rate=0.05)
    level = float(rows.public_loss(rows.start)[0])

    hinged = forgotten_loss(rows, NegativeGradient(descent=descent).repair(rows, rows.start, 0))
    ascended = forgotten_loss(rows, GradientAscent(weight=5.0, descent=descent).repair(rows, rows.start, 0))

    # Adam's momentum carries somewhat beyond the hinge.
    assert level < hinged < 2 * level
    assert ascended > 4 * level


def test_hinge_that_is_met_leaves_only_training_on_what_is_kept(rows):
    gone = (rows.start[0].clone(),)
    gone[0][:, FORGOTTEN] = 0.0

    hinged = NegativeGradient(hinge=0.5).repair(rows, gone, 0)
    trained = Descent().run(rows.retained_loss, gone)

    assert torch.equal(hinged[0], trained[0])


@pytest.mark.parametrize("name", METHODS)
def test_node_without_forgotten_samples_only_trains_on_what_is_kept(rows, name):
    method = method_named(name)

    after = method.repair(rows, rows.start, seed=1)

    kept_only = method.descent.run(rows.retained_loss, rows.start)
    torch.testing.assert_close(after[0][1], kept_only[0][1])
    assert not torch.allclose(after[0][0], kept_only[0][0])


@pytest.mark.parametrize("name", METHODS)
def test_repair_is_a_pure_function_and_leaves_its_start_alone(rows, name):
    before = rows.start[0].clone()

    first, again = (method_named(name).repair(rows, rows.start, seed=5) for _ in range(2))

    assert torch.equal(first[0], again[0])
    assert torch.equal(rows.start[0], before)
    assert not rows.start[0].requires_grad


def test_random_labels_are_keyed_and_never_the_person_s_own(rows):
    labels = drawn_labels(rows, seed=1)

    assert labels.shape == (2, 5)
    assert set(labels.flatten().tolist()) <= {0, 2, 3}
    assert torch.equal(labels, drawn_labels(rows, seed=1))
    assert not torch.equal(labels, drawn_labels(rows, seed=2))


def test_random_label_needs_somebody_else(rows):
    rows.classes = 1
    with pytest.raises(EngineError, match="drop the only row"):
        RandomLabel().repair(rows, rows.start, seed=1)


def test_divergence_is_an_error_and_not_an_adapter(rows):
    broken = (torch.full_like(rows.start[0], float("nan")),)
    with pytest.raises(EngineError, match="diverged"):
        NegativeGradient().repair(rows, broken, seed=0)


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(EngineError, match="negative-gradient, random-label, gradient-ascent"):
        method_named("scrub")
    assert tuple(method_named(name).name for name in METHODS) == METHODS


def test_mean_of_present_ignores_padding():
    values = torch.tensor([[2.0, 4.0, 100.0], [1.0, 1.0, 1.0]])
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_of_present(values, present).tolist() == [3.0, 0.0]
