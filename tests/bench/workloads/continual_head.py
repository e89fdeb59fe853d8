"""A closed-form head and subject adapters through arrivals and forgets: books that grow and shrink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

import torch

from edge_node.engine import Identification
from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.statistics import HeadStatistics
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
        self._books = SufficientStatistics.empty(fleet.public)
        for wave, names in enumerate(plan.waves):
            if wave == len(plan.waves) - 1:
                for name in plan.leaving:
                    mine = torch.cat(list(fleet.captured(name).values())).numpy()
                    self._books = self._books.without(name, HeadStatistics.of(mine))
            self._books = self._enrolled(self._books, names)
            for lines, identify in ((self._head, self._by_head), (self._subject, self._by_adapters)):
                lines.append(plan.accuracies(fleet, identify(self._books)(fleet.asked[0]).best_tag, wave + 1))

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
        never = self._fleet.books(self._plan.staying)
        equal = self._books.equals(never)
        same_head = self._books.build().digest() == never.build().digest()
        return (
            self._line("closed-form head", self._by_head, never, equal and same_head),
            self._line("subject adapter", self._by_adapters, never, equal),
        )

    def _line(self, kind: str, by: Identify, never: SufficientStatistics, equal: bool) -> Resurfacing:
        fleet, leaving = self._fleet, self._plan.leaving
        samples = torch.cat([fleet.test[name] for name in leaving], dim=1)
        truth = tuple(name for name in leaving for _ in range(fleet.test[name].shape[1]))
        back = self._enrolled(self._books, leaving)

        def seen(books: SufficientStatistics) -> tuple[Seen, float]:
            identify = by(books)
            answer, strangers = identify(samples), identify(fleet.strangers)
            return Seen.of(answer.best_tag, answer.accepted, truth), float(strangers.accepted.double().mean())

        (now, strangers), (reference, _), (returned, _) = seen(self._books), seen(never), seen(back)
        return Resurfacing(
            kind=kind,
            named=now.named,
            accepted=now.accepted,
            never_enrolled=reference.accepted,
            strangers=strangers,
            as_if_never_enrolled=equal,
            named_if_let_back=returned.named,
        )

    def _by_head(self, books: SufficientStatistics) -> Callable[[torch.Tensor], HeadAnswer]:
        return partial(HeadAnswer.of, install(books.build(), self._fleet))

    def _by_adapters(self, books: SufficientStatistics) -> Callable[[torch.Tensor], Identification]:
        self._fleet.activate(tuple(books.people))
        return self._fleet.engine.identify

    def _enrolled(self, books: SufficientStatistics, names: Sequence[str]) -> SufficientStatistics:
        for node in range(len(self._fleet.engine.node_ids)):
            share = self._fleet.share(node, names)
            books = books if share is None else books.with_share(share)
        return books


#: Makes the integers active, and returns what answers samples.
Identify = Callable[[SufficientStatistics], Callable[[torch.Tensor], HeadAnswer | Identification]]
