"""Rates at which cohorts identify people of a two-layer fleet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from fleet.lab.fleets.two_layer_fleet import TwoLayerFleet
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe, scores
from fleet.lab.verification.metrics import auc


@dataclass(frozen=True)
class Rates:
    """Over all nodes, shares of 1."""

    #: Test samples of enrolled people whose largest logit is of the right person.
    accuracy: float
    #: Known people's largest logit against strangers'.
    auroc: float


def rates_of(
    fleet: TwoLayerFleet, recipe: LoraRecipe, states: Sequence[CohortState], among: Collection[str] | None = None
) -> Rates:
    """Return how well cohorts that know different people identify together.

    Parameters
    ----------
    recipe, states
        As they were trained.
    among
        People whose test samples are asked; everybody in the cohorts, if left out.
    """
    tags = [tag for state in states for tag in state.tags]
    column = {tag: k for k, tag in enumerate(tags) if among is None or tag in among}
    known, strange = (
        torch.cat([scores(recipe, state, pairs, fleet.centre) for state in states], dim=2)
        for pairs in (fleet.asked, fleet.strangers)
    )
    right = torch.tensor([column.get(tag, -1) for tag in fleet.truth])
    mine = known[:, right >= 0]
    hits = mine.argmax(dim=2) == right[right >= 0]
    return Rates(float(hits.double().mean()), auc(mine.amax(dim=2), strange.amax(dim=2)))
