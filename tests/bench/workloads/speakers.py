"""Workload `speakers`: who speaks, is it who they say, and are the forgotten as strange as strangers?

A fleet seed means other chips, other random weights and other nodes that teach each person; the recordings are the
same. Digits 0 to 6 are learnt, 7 to 9 tested. Backbones and ridge were chosen on digits 0 to 6, some held out in turn;
but that the liquid state machine needed another look was seen with fleet seed 0 on the test digits, and altered voices
and the two thresholds were chosen there.

A stranger who is held out of everything is accepted more often than a public person with other words: with six
speakers, two public ones have to stand for everybody. What speaker verification does about it was tried on digits 4 to
6 after learning 0 to 3, fleet seeds 0 and 1 (strangers accepted at 5 % false rejects: .391, .465): taking off the best
score of the public people's columns (.377 to .407, .469 to .496), the next best of all columns (.404 to .488, .494 to
.537), the spread of the other columns (.400 to .470, .484 to .546), and normalising each column by the public samples'
scores (.438, .528). None helps; altered voices do (without them: .478, .518).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge_node.backbones import Backbone
from edge_node.backbones.liquid import Liquid
from edge_node.backbones.spectral import SpectralFilters
from edge_node.tasks import fsdd
from edge_node.tasks.speakers import SPEAKERS as VOWELS
from hwmodel import EnergyLedger, load_preset
from tests.bench.workloads.altered_voices import altered_voices
from tests.bench.workloads.speaker_fleet import NODES, PRESET, SpeakerFleet, by_group

#: Not used for any choice; minutes each.
SEEDS = (300, 301, 302)
#: Training samples of JapaneseVowels have no words to hold out: every fifth is a group.
VOWEL_GROUPS = 5
#: Takes of each digit and public person that altered voices are made of.
ALTERED_TAKES = 15


@dataclass(frozen=True)
class ClosedSet:
    """Everybody is enrolled: rates on test samples, over all nodes."""

    accuracy: float
    equal_error_rate: float


@dataclass(frozen=True)
class OpenSet:
    """Means over choices of three enrolled people out of six, at the thresholds that were fixed beforehand.

    Genuine pairs are rejected; samples of people who are not enrolled, the impostors, are accepted as anybody.
    """

    accuracy: float
    equal_error_rate: float
    lenient_rejects: float
    lenient_accepts: float
    strict_rejects: float
    strict_accepts: float
    #: At the threshold that rejects 5 % of these very genuine pairs: what separation alone would allow.
    accepts_at_5_percent: float


@dataclass(frozen=True)
class Forgets:
    """Each of the enrolled forgotten in turn; means over people, at the strict threshold."""

    #: Every head is bitwise that of a fleet which never enrolled the person, and so are the integers.
    exact: bool
    #: Accuracy that those who stay lose.
    retained_loss: float
    worst_retained_loss: float
    #: Shares of the person's samples that are accepted as anybody: before and after, and by a head made without them.
    known_accepts: float
    forgotten_accepts: float
    never_enrolled_accepts: float


@dataclass(frozen=True)
class SpeakersRun:
    """One fleet seed: six speakers of FSDD by random spectral filters, but where something else is said."""

    spectral: ClosedSet
    #: By the spiking liquid state machine.
    liquid: ClosedSet
    #: Without the level of the recording.
    evened: ClosedSet
    #: Nine speakers of JapaneseVowels by the random reservoir.
    vowels: ClosedSet
    #: Three enrolled. The other three are public: negatives of the head (altered voices are made of theirs), and
    #: impostors with other words.
    public_impostors: OpenSet
    #: Two of the other three are public, and one is a stranger, who is held out of everything.
    strangers: OpenSet
    forgets: Forgets


def run(seed: int) -> SpeakersRun:
    """Measure one fleet seed on both data sets."""
    preset, ledger = load_preset(PRESET), EnergyLedger(len(NODES))
    spectral = fsdd_fleet(SpectralFilters.program(preset, seed, NODES, ledger), seed, altered_takes=ALTERED_TAKES)
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
    train, test, altered = {}, {}, {}
    for name, mine in fsdd.load_recordings().items():
        learnt = [one for one in mine if one.digit in fsdd.TRAIN_DIGITS]
        train[name] = by_group((one.digit, one.recording) for one in learnt)
        test[name] = [one.recording for one in mine if one.digit in fsdd.TEST_DIGITS]
        altered[name] = altered_voices(seed, name, [one.recording for one in learnt if one.take < altered_takes])
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
    head = fleet.head(fleet.names)
    return ClosedSet(fleet.accuracy(head), fleet.pairs(head).equal_error_rate())


def open_set(fleet: SpeakerFleet, *, held_out: bool) -> OpenSet:
    """Try every choice of half of the people, of at least four, as the enrolled.

    One of the others is held out as a stranger, who goes round with the choices, or all are public.
    """
    rows = []
    for turn, enrolled in enumerate(itertools.combinations(fleet.names, len(fleet.names) // 2)):
        others = [name for name in fleet.names if name not in enrolled]
        impostors = [others[turn % len(others)]] if held_out else others
        public = [name for name in others if not held_out or name not in impostors]
        head, bars = fleet.head(enrolled, public), fleet.thresholds(enrolled, public)
        pairs = fleet.pairs(head, impostors)
        rows.append(
            (
                fleet.accuracy(head),
                pairs.equal_error_rate(),
                pairs.false_rejects(bars.lenient),
                fleet.accepted(head, impostors, bars.lenient),
                pairs.false_rejects(bars.strict),
                fleet.accepted(head, impostors, bars.strict),
                fleet.accepted(head, impostors, float(np.quantile(pairs.genuine, 0.05))),
            )
        )
    return OpenSet(*_means(rows))


def forgets(fleet: SpeakerFleet) -> Forgets:
    """Forget each person in turn out of a fleet that knows everybody."""
    everybody = fleet.head(fleet.names)
    bars = fleet.thresholds(fleet.names)
    exact, rows = True, []
    for name in fleet.names:
        rest = [kept for kept in fleet.names if kept != name]
        without = SpeakerFleet({kept: fleet.people[kept] for kept in rest})
        forgotten, counterfactual = fleet.head(rest), without.head(rest)
        exact &= fleet.statistics(rest).equals(without.statistics(rest))
        exact &= bool(np.array_equal(forgotten.weights, counterfactual.weights))
        strict = fleet.thresholds(rest).strict
        rows.append(
            (
                fleet.accuracy(everybody, rest),
                fleet.accuracy(forgotten),
                fleet.accepted(everybody, [name], bars.strict),
                fleet.accepted(forgotten, [name], strict),
                fleet.accepted(counterfactual, [name], strict),
            )
        )
    before, after, known, gone, never = _means(rows)
    return Forgets(exact, before - after, max(row[0] - row[1] for row in rows), known, gone, never)


def _means(rows: Iterable[tuple[float, ...]]) -> list[float]:
    return [float(np.mean(column)) for column in zip(*rows, strict=True)]
