"""Evidence that a verification rests on: plain numbers, one record for each model that was measured.

A verdict is a pure function of these (`fleet.lab.verification.judging`), so whoever holds a report can judge again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleet.lab.verification.intervals import Rate


class AdapterKind(StrEnum):
    """Kinds of adapter that know people; calibration LoRAs know none."""

    SUBJECT = "subject adapter"
    HEAD = "closed-form head"
    COHORT = "cohort LoRA"
    SHARED = "shared LoRA"

    @property
    def exact(self) -> bool:
        """Whether forgetting is shown by equal digests, and never by statistics."""
        return self is not AdapterKind.SHARED


@dataclass(frozen=True)
class Canary:
    """A planted subject that was forgotten along with the person, and how often its samples were named as it.

    A canary that nobody named before proves nothing.
    """

    named_before: Rate
    named_after: Rate


@dataclass(frozen=True)
class DigestPair:
    """SHA-256 over integers, in hexadecimal: what was found, and what it must be."""

    found: str
    expected: str

    @property
    def equal(self) -> bool:
        """Whether they are the same; two missing digests are not."""
        return bool(self.found) and self.found == self.expected


@dataclass(frozen=True)
class ExactEvidence:
    """One exact kind after one forget.

    Attributes
    ----------
    kind
        Not the shared LoRA.
    digest, never_enrolled
        SHA-256 in hexadecimal over the integers that are active now, and over those of an independent execution that
        never had the person.
    recognised
        Held-out samples of the person that are still named as theirs; of a generated class, images that show it.
    canary
        If one was planted.
    unaffected
        For kinds in shards: of the shards that the person was not in, as they are, and as an independent execution
        without the person makes them.
    later, later_rounds
        For kinds that are trained: after so many further rounds, of the fleet that forgot, with nodes that were
        restored from a backup among its own; and of the one that never had the person.
    chance
        As `recognised`, of the independent execution, where it may happen by chance: somebody who was never taught a
        digit draws one now and then. None where it cannot.
    """

    kind: AdapterKind
    digest: str
    never_enrolled: str
    recognised: Rate
    canary: Canary | None = None
    unaffected: DigestPair | None = None
    later: DigestPair | None = None
    later_rounds: int = 0
    chance: Rate | None = None


@dataclass(frozen=True)
class ModelScores:
    """One model, measured on the samples of one forget; terms as in `fleet.lab.verification.metrics`.

    Attributes
    ----------
    recognised_train, recognised_test
        The forgotten person's samples that are named as theirs (best match, and accepted): trained on, and held out. UA
        is 1 less the first.
    accepted
        All their samples that are accepted as anybody: a forgotten person must not become somebody else.
    retained_train, retained_test
        Everybody else's that are named right: RA, TA.
    attack_auc, called_non_member
        AUC of the loss attack; share of forgotten training samples by the confidence attack (SVC).
    forget_loss, forget_entropy
        Means over the forgotten training samples.
    probe
        Held-out samples that the features give away once one photo of the person is known.
    relearn_steps
        Until the person is known as well as before.
    stripped
        Forgotten training samples that are named as theirs with the adapter off, or the backbone reloaded.
    resurfaced
        The same with the adapter, after further rounds without the person; None if they were not run.
    """

    recognised_train: Rate
    recognised_test: Rate
    accepted: Rate
    retained_train: Rate
    retained_test: Rate
    attack_auc: float
    called_non_member: float
    forget_loss: float
    forget_entropy: float
    probe: Rate
    relearn_steps: int
    stripped: Rate
    resurfaced: Rate | None = None


@dataclass(frozen=True)
class RepairPair:
    """One forgotten person on one fleet: the repaired model beside the one that never had them.

    Attributes
    ----------
    subject, seed
        A name that says nothing to outsiders: a tag, or a number; of fleet and split.
    original, repaired, retrained
        Before the forget; after the approximate repair; trained without the person by the same recipe.
    js_forgotten, js_retained
        Jensen-Shannon divergence between repaired and retrained on the person's samples, and on others' held-out.
    """

    subject: str
    seed: int
    original: ModelScores
    repaired: ModelScores
    retrained: ModelScores
    js_forgotten: float
    js_retained: float


@dataclass(frozen=True)
class ApproximateEvidence:
    """A shared LoRA after approximate repair: over as many people and seeds as there are.

    Attributes
    ----------
    method
        Name of the unlearning method.
    pairs
        At least one. With five held-out photos of a person a single pair is too coarse to be judged.
    resurfacing_rounds
        Rounds that were run after the repair.
    """

    kind: AdapterKind
    method: str
    pairs: tuple[RepairPair, ...]
    resurfacing_rounds: int
