"""A closed-form head and subject adapters through arrivals and forgets: statistics of people who come and go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean

import torch

from edge_node.engine import Identification
from fleet.heads.enrolment import SufficientStatistics
from fleet.lab.fleets.captured_fleet import CapturedFleet
from tests.bench.workloads.arrivals import Arrivals, Trajectory
from tests.bench.workloads.faces import install
from tests.bench.workloads.head_answers import HeadAnswer
from tests.bench.workloads.resurfacing import Resurfacing, Seen


class HeadLife:
    """Both closed forms of one fleet, after everybody has arrived and some have left."""

    def __init__(self, fleet: CapturedFleet, plan: Arrivals) -> None:
        self._fleet, self._plan = fleet, plan
        self._head: list[tuple[float, ...]] = []
        self._subject: list[tuple[float, ...]] = []
        packed: list[tuple[str, bytes]] = []
        for wave, names in enumerate(plan.waves):
            if wave == len(plan.waves) - 1:
                packed = [(tag, part) for tag, part in packed if tag not in plan.leaving]
            packed += fleet.packed(names)
            self._statistics = SufficientStatistics.of_packed(fleet.public, packed)
            for lines, identify in ((self._head, self._by_head), (self._subject, self._by_adapters)):
                codes, truth = fleet.asked
                lines.append(plan.accuracies(truth, identify(self._statistics)(codes).best_tag, wave + 1))
        self._back = SufficientStatistics.of_packed(fleet.public, [*packed, *fleet.packed(plan.leaving)])

    def trajectories(self) -> tuple[Trajectory, Trajectory]:
        """Return those of the head and of subject adapters.

        Nothing is trained in rounds, so the last line is that after the last wave; and all at once gives the same
        integers, as `resurfacing` compares.
        """
        lines = {"closed-form head": self._head, "subject adapters": self._subject}
        head, subject = (Trajectory(name, (*found, found[-1]), fmean(found[-1])) for name, found in lines.items())
        return head, subject

    def resurfacing(self) -> tuple[Resurfacing, Resurfacing]:
        """Return what the forgotten people meet in either kind."""
        never = self._fleet.statistics(self._plan.staying)
        equal = self._statistics.equals(never)
        same_head = self._statistics.build().digest() == never.build().digest()
        return (
            self._line("closed-form head", self._by_head, never, equal and same_head),
            self._line("subject adapter", self._by_adapters, never, equal),
        )

    def _line(self, kind: str, by: Identify, never: SufficientStatistics, equal: bool) -> Resurfacing:
        fleet, leaving = self._fleet, self._plan.leaving
        samples = torch.cat([fleet.test[name] for name in leaving], dim=1)
        truth = tuple(name for name in leaving for _ in range(fleet.test[name].shape[1]))

        def seen(statistics: SufficientStatistics) -> tuple[Seen, float]:
            identify = by(statistics)
            answer, strangers = identify(samples), identify(fleet.strangers)
            return Seen.of(answer.best_tag, answer.accepted, truth), float(strangers.accepted.double().mean())

        (now, strangers), (reference, _), (returned, _) = seen(self._statistics), seen(never), seen(self._back)
        return Resurfacing(
            kind=kind,
            named=now.named,
            accepted=now.accepted,
            never_enrolled=reference.accepted,
            strangers=strangers,
            as_if_never_enrolled=equal,
            named_if_let_back=returned.named,
        )

    def _by_head(self, statistics: SufficientStatistics) -> Callable[[torch.Tensor], HeadAnswer]:
        return partial(HeadAnswer.of, install(statistics.build(), self._fleet))

    def _by_adapters(self, statistics: SufficientStatistics) -> Callable[[torch.Tensor], Identification]:
        self._fleet.activate(tuple(statistics.people))
        return self._fleet.engine.identify


#: Makes the integers active, and returns what answers samples.
Identify = Callable[[SufficientStatistics], Callable[[torch.Tensor], HeadAnswer | Identification]]
