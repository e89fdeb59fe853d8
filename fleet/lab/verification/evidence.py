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
    #: Crossbars, which hold what they were programmed with for good.
    BACKBONE = "backbone"

    @property
    def exact(self) -> bool:
        """Whether forgetting is shown by equal digests, and never by statistics."""
        return self not in (AdapterKind.SHARED, AdapterKind.BACKBONE)


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
    """One exact kind after one forget."""

    #: An exact one.
    kind: AdapterKind
    #: SHA-256 in hexadecimal over the integers that are active now, and over those of an independent execution that
    #: never had the person.
    digest: str
    never_enrolled: str
    #: Held-out samples of the person that are still named as theirs; of a generated class, images that show it.
    recognised: Rate
    #: If one was planted.
    canary: Canary | None = None
    #: For kinds in shards: of the shards that the person was not in, as they are, and as an independent execution
    #: without the person makes them.
    unaffected: DigestPair | None = None
    #: For kinds that are trained: after so many further rounds, of the fleet that forgot, with nodes that were restored
    #: from a backup among its own; and of the one that never had the person.
    later: DigestPair | None = None
    later_rounds: int = 0
    #: As `recognised`, of the independent execution, where it may happen by chance: somebody who was never taught a
    #: digit generates one now and then. None where it cannot.
    chance: Rate | None = None


@dataclass(frozen=True)
class ModelScores:
    """One model, measured on the samples of one forget; terms as in `fleet.lab.verification.metrics`."""

    #: The forgotten person's samples that are named as theirs (best match, and accepted): trained on, and held out. UA
    #: is 1 less the first.
    recognised_train: Rate
    recognised_test: Rate
    #: All their samples that are accepted as anybody: a forgotten person must not become somebody else.
    accepted: Rate
    #: Everybody else's that are named right: RA, TA.
    retained_train: Rate
    retained_test: Rate
    #: AUC of the loss attack; share of forgotten training samples by the confidence attack (SVC).
    attack_auc: float
    called_non_member: float
    #: Means over the forgotten training samples.
    forget_loss: float
    forget_entropy: float
    #: Nodes that hold an adapter, a row or a column of the person's, whatever they answer: a mask can be taken off.
    held: Rate
    #: As `recognised_train`, after further rounds without the person; None if they were not run.
    resurfaced: Rate | None = None


@dataclass(frozen=True)
class RepairPair:
    """One forgotten person on one fleet: the repaired model beside the one that never had them."""

    #: A name that says nothing to outsiders: a tag, or a number; of fleet and split.
    subject: str
    seed: int
    #: Before the forget; after the approximate repair; trained without the person by the same recipe.
    original: ModelScores
    repaired: ModelScores
    retrained: ModelScores
    #: Jensen-Shannon divergence between repaired and retrained on the person's samples.
    js_forgotten: float


@dataclass(frozen=True)
class ApproximateEvidence:
    """A shared LoRA after approximate repair: over as many people and seeds as there are."""

    kind: AdapterKind
    #: Name of the unlearning method.
    method: str
    #: At least one. With five held-out photos of a person a single pair is too coarse to be judged.
    pairs: tuple[RepairPair, ...]
    #: Rounds that were run after the repair.
    resurfacing_rounds: int


@dataclass(frozen=True)
class MaskEvidence:
    """A concept that the backbone knows, after its forget: nodes, and pictures over all nodes."""

    #: Its name, as ``"style:night"``.
    concept: str
    #: Nodes that refuse it by its name, and nodes that have its eraser, that of the newest revision.
    refused: Rate
    erased: Rate
    #: Pictures that are asked for by the concept, past that refusal, and show it.
    shows: Rate
    #: Pictures that are asked for without saying, and show it.
    unasked: Rate
    #: Pictures that are asked for by another one, and show that.
    others: Rate
    #: As `shows`, with the eraser taken off: the strip test.
    stripped: Rate
