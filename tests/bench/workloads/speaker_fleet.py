"""A fleet that hears people: each taught on one to three nodes, in groups that can be held out as a whole.

The closed-form head here has an intercept, which is one more feature with a constant code: where everybody is enrolled,
as with the six speakers of FSDD, nobody is left whose mean could centre the codes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_node.backbones import Backbone
from fleet.heads.errors import HeadError
from fleet.heads.solve import solve_rounded
from fleet.heads.statistics import HeadStatistics, total
from hwmodel import EnergyLedger, Phase
from hwmodel.streams import keyed_uint16
from tests.bench.workloads.verification_pairs import VerificationPairs, threshold_rejecting

NODES = tuple(f"node-{index}" for index in range(4))
PRESET = "180nm-1t1r"
#: Code of the constant feature: large, so that the ridge hardly holds the intercept back.
INTERCEPT_CODE = 1_024
#: Ridge in hundredths of a feature's mean variance.
RIDGE_PERCENT = 10
#: Shares that thresholds reject of held-out samples, and accept of held-out people's.
FALSE_REJECT_SHARE, FALSE_ACCEPT_SHARE = 0.05, 0.10
#: Fraction bits of the head's weights.
SCALE_BITS = 30

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class TaughtPerson:
    """Codes that a person's nodes captured, and codes that all nodes capture of the person later."""

    #: Statistics of the training samples by group (a digit).
    groups: Mapping[int, HeadStatistics]
    #: By group, the codes themselves, int32 [samples, F + 1].
    taught: Mapping[int, Codes]
    #: int32 [N, B, F + 1].
    asked: Codes
    #: Statistics of altered voices: negatives where this person is public, else not used.
    altered: HeadStatistics


@dataclass(frozen=True)
class Thresholds:
    """Scores from which a sample is accepted."""

    #: Rejects `FALSE_REJECT_SHARE` of the enrolled people's samples with words that were held out.
    lenient: float
    #: That, raised until at most `FALSE_ACCEPT_SHARE` of held-out people's samples are accepted as anybody.
    strict: float


@dataclass(frozen=True, eq=False)
class SpeakerHead:
    """A solved head."""

    #: Enrolled people, sorted: one column each.
    names: tuple[str, ...]
    #: int32 [F + 1, K] at 2^-30.
    weights: Codes

    def scores(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Return scores [..., K] of codes [..., F + 1]; 1 is what training aimed at for the right person.

        `HeadError` if sums could reach 2^53, where they would no longer be exact in any order.
        """
        column = int(np.abs(self.weights.astype(np.int64)).sum(axis=0).max(initial=0))
        if column * int(np.abs(codes).max(initial=0)) >= 1 << 53:
            raise HeadError(f"a column's magnitudes add up to {column}: scores would not be exact")
        return np.ldexp(codes.astype(np.float64) @ self.weights.astype(np.float64), -SCALE_BITS)


@dataclass(frozen=True, eq=False)
class SpeakerFleet:
    """Everybody's codes on one fleet's chips; made by `hear`."""

    #: By name.
    people: Mapping[str, TaughtPerson]

    @classmethod
    def hear(
        cls,
        backbone: Backbone,
        train: Mapping[str, Mapping[int, Sequence[np.ndarray]]],
        test: Mapping[str, Sequence[np.ndarray]],
        fleet_seed: int,
        altered: Mapping[str, Sequence[np.ndarray]] | None = None,
    ) -> SpeakerFleet:
        """Capture everything: training samples of a person go round the one to three nodes that teach them.

        Parameters
        ----------
        backbone
            On the chips of `NODES`.
        train
            Samples by name and group.
        test
            Samples by name; every node hears all of them.
        fleet_seed
            Draws who is taught where.
        altered
            Samples of altered voices by the name that they were made of; they go round all nodes.
        """
        ledger = EnergyLedger(len(NODES))

        def captured(samples: Sequence[np.ndarray]) -> Codes:
            codes = backbone.capture(samples, ledger, Phase.INFER).numpy()
            constant = np.full((*codes.shape[:2], 1), INTERCEPT_CODE, np.int32)
            return np.concatenate([codes, constant], axis=2)

        people = {}
        for name in sorted(train):
            nodes = teaching_nodes(fleet_seed, name)
            taught = {}
            for group, samples in train[name].items():
                codes = captured(samples)
                taught[group] = codes[nodes[np.arange(len(samples)) % len(nodes)], np.arange(len(samples))]
            groups = {group: HeadStatistics.of(codes) for group, codes in taught.items()}
            strange = captured(altered[name] if altered else [])
            turns = np.arange(strange.shape[1])
            people[name] = TaughtPerson(
                groups, taught, captured(test[name]), HeadStatistics.of(strange[turns % len(NODES), turns])
            )
        return cls(people)

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody, sorted."""
        return tuple(sorted(self.people))

    @property
    def features(self) -> int:
        """Codes per sample, the constant included."""
        return int(self.people[self.names[0]].asked.shape[2])

    def statistics(self, names: Collection[str], without_group: int | None = None) -> HeadStatistics:
        """Return the sum of these people's statistics, one group left out."""
        if without_group is None:
            return total([self._whole[name] for name in names], self.features)
        return total([part for name in names for part in self._parts(name, without_group)], self.features)

    def _parts(self, name: str, without_group: int | None) -> list[HeadStatistics]:
        return [part for group, part in self.people[name].groups.items() if group != without_group]

    @cached_property
    def _whole(self) -> Mapping[str, HeadStatistics]:
        """Everybody's statistics over all groups: summed once, since sums of matrices outlast solving."""
        return {name: total(person.groups.values(), self.features) for name, person in self.people.items()}

    def head(
        self,
        enrolled: Collection[str],
        public: Collection[str] = (),
        *,
        without_group: int | None = None,
    ) -> SpeakerHead:
        """Solve for the enrolled, with public people as negatives.

        Parameters
        ----------
        enrolled, public
            Names.
        without_group
            Held out of everything.
        """
        names = tuple(sorted(enrolled))
        altered = [self.people[name].altered for name in public]
        together = self.statistics((*names, *public), without_group) + total(altered, self.features)
        sums = [[part.code_sum for part in self._parts(name, without_group)] for name in names]
        targets = np.stack([np.sum(parts, axis=0) for parts in sums], axis=1)
        return SpeakerHead(names, solve_rounded(together.gram, targets, ridge_of(together), SCALE_BITS))

    def thresholds(self, enrolled: Collection[str], public: Collection[str] = ()) -> Thresholds:
        """Fix the global thresholds beforehand: no test sample, nobody but the enrolled and the public.

        Each group in turn is held out of everybody's statistics, and its samples are scored against their own column by
        the head that is left. Each person in turn is left out of everything, and is a stranger to the head of the
        others.
        """
        genuine, stranger = [], []
        for group in self.people[next(iter(enrolled))].groups:
            head = self.head(enrolled, public, without_group=group)
            for column, name in enumerate(head.names):
                genuine.append(head.scores(self.people[name].taught[group])[:, column])
        for name in (*enrolled, *public):
            head = self.head(
                [known for known in enrolled if known != name], [known for known in public if known != name]
            )
            stranger += [head.scores(codes).max(axis=1) for codes in self.people[name].taught.values()]
        lenient = threshold_rejecting(np.concatenate(genuine), FALSE_REJECT_SHARE)
        barred = float(np.quantile(np.concatenate(stranger), 1 - FALSE_ACCEPT_SHARE))
        return Thresholds(lenient, max(lenient, barred))

    def asked(self, head: SpeakerHead, names: Iterable[str]) -> npt.NDArray[np.float64]:
        """Return the scores of these people's test samples on every node, [N, samples, K]."""
        return head.scores(np.concatenate([self.people[name].asked for name in names], axis=1))

    def truth(self, head: SpeakerHead) -> npt.NDArray[np.intp]:
        """Return the right column of each test sample of the enrolled, in order of name."""
        counts = [self.people[name].asked.shape[1] for name in head.names]
        return np.repeat(np.arange(len(head.names)), counts)

    def accuracy(self, head: SpeakerHead, names: Collection[str] | None = None) -> float:
        """Return the share of test samples, over all nodes, whose best column is right; of some names only."""
        scores, truth = self.asked(head, head.names), self.truth(head)
        kept = np.isin(np.array(head.names)[truth], list(head.names if names is None else names))
        return float((scores.argmax(axis=2) == truth)[:, kept].mean())

    def pairs(self, head: SpeakerHead, strangers: Collection[str] = ()) -> VerificationPairs:
        """Return the verification pairs of all nodes; impostors are the strangers, if there are any."""
        scores, truth = self.asked(head, head.names), self.truth(head)
        flat, claimed = scores.reshape(-1, len(head.names)), np.tile(truth, len(scores))
        return VerificationPairs.of(flat, claimed, self.asked(head, strangers) if strangers else None)

    def accepted(self, head: SpeakerHead, names: Iterable[str], threshold: float) -> float:
        """Return the share of these people's test samples, over all nodes, that are accepted as anybody."""
        return float((self.asked(head, names).max(axis=2) >= threshold).mean())


def teaching_nodes(fleet_seed: int, name: str) -> npt.NDArray[np.intp]:
    """Return the one to three nodes, by index, that a person is taught on."""
    draws = keyed_uint16(fleet_seed, "speakers.nodes", name, count=len(NODES) + 1).numpy()
    return np.argsort(draws[1:], kind="stable")[: 1 + int(draws[0]) % 3]


def ridge_of(together: HeadStatistics) -> int:
    """Return the ridge: a share of the mean variance of a feature, times the number of samples; an integer.

    Of the Gram matrix' diagonal the squares of the means are taken off, since codes are not centred.
    """
    spread = int(together.gram.trace()) - int((together.code_sum**2).sum()) // max(1, together.count)
    return max(1, RIDGE_PERCENT * spread // (100 * together.features))


def by_group(samples: Iterable[tuple[int, np.ndarray]]) -> dict[int, list[np.ndarray]]:
    """Return samples by the group that comes with each."""
    groups: dict[int, list[np.ndarray]] = {}
    for group, sample in samples:
        groups.setdefault(group, []).append(sample)
    return groups
