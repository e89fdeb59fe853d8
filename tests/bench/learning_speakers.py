"""Figures of the speakers: FSDD with disjoint digits, the paper's liquid, JapaneseVowels."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import speakers


def speakers_figures() -> Iterator[Figure]:
    """Yield recognition, rejection and forgetting of voices, over fleet seeds: other chips and filters."""
    runs = [speakers.run(seed) for seed in speakers.SEEDS]

    def each(name: str, values: list[float], target: Target | None = None) -> Figure:
        return Figure(name, tuple(values), "share", target)

    spectral = "FSDD, 6 speakers, other digits"
    yield each(f"{spectral}: accuracy", [r.spectral.accuracy for r in runs], Target(">=", 0.95))
    yield each(f"{spectral}: EER", [r.spectral.equal_error_rate for r in runs], Target("<=", 0.04))
    evened = f"{spectral}, level of the recording removed"
    yield each(f"{evened}: accuracy", [r.evened.accuracy for r in runs])
    yield each(f"{evened}: EER", [r.evened.equal_error_rate for r in runs])
    liquid = "FSDD, 6 speakers, spiking liquid 140-512"
    yield each(f"{liquid}: accuracy", [r.liquid.accuracy for r in runs], Target(">=", 0.88))
    yield each(f"{liquid}: EER", [r.liquid.equal_error_rate for r in runs])
    vowels = "JapaneseVowels, 9 speakers, reservoir"
    yield each(f"{vowels}: accuracy", [r.vowels.accuracy for r in runs], Target(">=", 0.975))
    yield each(f"{vowels}: EER", [r.vowels.equal_error_rate for r in runs])

    few = "FSDD, 3 enrolled, 3 public who impose"
    yield each(f"{few}: accuracy", [r.public_impostors.accuracy for r in runs])
    accepts = [r.public_impostors.lenient_accepts for r in runs]
    yield each(f"{few}: false accepts at the lenient threshold", accepts, Target("<=", 0.15))
    rejects = [r.public_impostors.lenient_rejects for r in runs]
    yield each(f"{few}: false rejects at the lenient threshold", rejects)
    # Stricter than 3 enrolled and 3 public, which is what the targets are for.
    strange = "FSDD, 3 enrolled, 2 public, a stranger held out of everything"
    yield each(f"{strange}: EER", [r.strangers.equal_error_rate for r in runs])
    accepts = [r.strangers.accepts_at_5_percent for r in runs]
    yield each(f"{strange}: false accepts at 5 % false rejects in hindsight", accepts, Target("<=", 0.15))
    accepts = [r.strangers.strict_accepts for r in runs]
    yield each(f"{strange}: false accepts at the strict threshold", accepts, Target("<=", 0.15))
    rejects = [r.strangers.strict_rejects for r in runs]
    yield each(f"{strange}: false rejects at the strict threshold", rejects)

    gone = "FSDD, each of six forgotten in turn"
    exact = [float(r.forgets.exact) for r in runs]
    yield each(f"{gone}: integers and weights as never enrolled", exact, Target("=", 1))
    loss = [r.forgets.retained_loss for r in runs]
    yield mean_figure(f"{gone}: accuracy that those who stay lose", loss, "share", Target("<=", 0.01))
    worst = [r.forgets.worst_retained_loss for r in runs]
    yield each(f"{gone}: the same, in the worst single forget", worst, Target("<=", 0.01))
    accepts = [r.forgets.forgotten_accepts for r in runs]
    yield each(f"{gone}: forgotten accepted as anybody, strict threshold", accepts)
    accepts = [r.forgets.never_enrolled_accepts for r in runs]
    yield each(f"{gone}: never enrolled accepted as anybody, strict threshold", accepts)
