"""A closed-form head and subject adapters through arrivals and forgets: books that grow and shrink."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.statistics import HeadStatistics
from fleet.lab.fleets.face_fleet import FaceFleet
from tests.bench.workloads.arrivals import Arrivals, Trajectory
from tests.bench.workloads.faces import install
from tests.bench.workloads.head_answers import HeadAnswer
from tests.bench.workloads.resurfacing import Resurfacing, Seen


class HeadLife:
    """Both closed forms of one fleet, after everybody has arrived and some have left.

    Parameters
    ----------
    fleet, plan
        Captured codes, and who comes and goes.
    """

    def __init__(self, fleet: FaceFleet, plan: Arrivals) -> None:
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
            asked = fleet.asked[0]
            best = install(self._books.build(), fleet).identify(asked).best_tag
            self._head.append(plan.accuracies(fleet, best, wave + 1))
            fleet.activate(tuple(self._books.people))
            best = fleet.engine.identify(asked).best_tag
            self._subject.append(plan.accuracies(fleet, best, wave + 1))

    def trajectories(self) -> tuple[Trajectory, Trajectory]:
        """Return those of the head and of subject adapters.

        Nothing is trained in rounds, so the last line is that after the last wave; and all at once gives the
        same integers, as `resurfacing` compares.
        """
        lines = {"closed-form head": self._head, "subject adapters": self._subject}
        head, subject = (Trajectory(name, (*found, found[-1]), fmean(found[-1])) for name, found in lines.items())
        return head, subject

    def resurfacing(self) -> tuple[Resurfacing, Resurfacing]:
        """Return what the forgotten people meet in either kind."""
        fleet, plan = self._fleet, self._plan
        never, back = fleet.books(plan.staying), self._enrolled(self._books, plan.leaving)
        equal = self._books.equals(never)
        same_head = self._books.build().digest() == never.build().digest()
        by_head = [self._by_head(books) for books in (self._books, never, back)]
        by_adapters = [self._by_adapters(tuple(b.people)) for b in (self._books, never, back)]
        return (
            self._line("closed-form head", by_head, equal and same_head),
            self._line("subject adapter", by_adapters, equal),
        )

    def _line(self, kind: str, seen: Sequence[tuple[Seen, float]], equal: bool) -> Resurfacing:
        (now, strangers), (never, _), (back, _) = seen
        return Resurfacing(
            kind=kind,
            samples=len(self._truth),
            named=now.named,
            accepted=now.accepted,
            never_enrolled=never.accepted,
            strangers=strangers,
            as_if_never_enrolled=equal,
            named_if_let_back=back.named,
        )

    def _by_head(self, books: SufficientStatistics) -> tuple[Seen, float]:
        head = install(books.build(), self._fleet)
        answer = HeadAnswer.of(head, self._leaving_samples)
        strangers = HeadAnswer.of(head, self._fleet.strangers).accepted
        return Seen.of(answer.best_tag, answer.accepted, self._truth), float(strangers.double().mean())

    def _by_adapters(self, names: Sequence[str]) -> tuple[Seen, float]:
        self._fleet.activate(names)
        answer = self._fleet.engine.identify(self._leaving_samples)
        strangers = self._fleet.engine.identify(self._fleet.strangers).accepted
        return Seen.of(answer.best_tag, answer.accepted, self._truth), float(strangers.double().mean())

    def _enrolled(self, books: SufficientStatistics, names: Sequence[str]) -> SufficientStatistics:
        for node in range(len(self._fleet.engine.node_ids)):
            share = self._fleet.share(node, names)
            books = books if share is None else books.with_share(share)
        return books

    @property
    def _leaving_samples(self) -> Tensor:
        return torch.cat([self._fleet.test[name] for name in self._plan.leaving], dim=1)

    @property
    def _truth(self) -> tuple[str, ...]:
        test = self._fleet.test
        return tuple(name for name in self._plan.leaving for _ in range(test[name].shape[1]))
