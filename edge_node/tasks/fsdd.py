"""Task `fsdd`: six real people saying English digits (Free Spoken Digit Dataset, CC BY-SA 4.0).

Z. Jackson and others, https://github.com/Jakobovski/free-spoken-digit-dataset: 3,000 recordings at 8 kHz, 50 of each
person and digit, .44 s on average. Learnt from are digits 0 to 6, tested is on 7 to 9, so that nobody is recognised by
a word that they were enrolled with.

A recording on the wire is the sound itself, float32 [samples, 1], not log-mel levels: what a device hears is then all
that it needs from its caller, both backbones take it (they want 32 and 28 bands), levels are made by one integer front
end (`log_mel`) instead of by every caller's own library, and that work is charged to the node. At most 2^18 samples: 33
s, 1 MiB. The usual one has 14 kB; its levels would have 5 kB.

The recordings are not ours to ship: they are read from the zip file or folder that `RERAM_FLEET_FSDD` names, or from
`fsdd.zip` or `fsdd/` in the folder that `RERAM_FLEET_DATA` names.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
from reram_fleet.code_ranges import FSDD_8 as FSDD_8_CODES
from reram_fleet.code_ranges import LoraStage

from edge_node.backbones import Backbone
from edge_node.backbones.liquid import Liquid
from edge_node.backbones.log_mel import SAMPLE_RATE_HZ
from edge_node.backbones.small_liquid import SmallLiquid
from edge_node.backbones.spectral import SpectralFilters
from edge_node.errors import TaskError
from edge_node.tasks import Person, Split
from edge_node.tasks.data_folder import DATA_VARIABLE, data_source
from hwmodel import EnergyLedger, Preset, keyed_uint16

#: Environment variable that names the zip file or the folder with the recordings.
SOURCE_VARIABLE = "RERAM_FLEET_FSDD"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TRAIN_DIGITS, TEST_DIGITS = range(7), range(7, 10)
#: Recordings of each public person and training digit that calibrate a chip.
CALIBRATION_TAKES = 10

_NAME = re.compile(r"(?:.*/)?(\d)_([a-z]+)_(\d+)\.wav")


@dataclass(frozen=True, eq=False)
class Recording:
    """One digit said once."""

    #: Digit that was said, and which take of it this is.
    digit: int
    take: int
    #: float32 [samples, 1], read-only.
    recording: np.ndarray


@cache
def _recordings(source: str | None) -> Mapping[str, tuple[Recording, ...]]:
    """Return everybody's recordings in order of digit and take."""
    if not source:
        raise TaskError(
            f"the recordings of FSDD are not here: set {SOURCE_VARIABLE} to its zip file or its folder of "
            f"recordings, or {DATA_VARIABLE} to a folder with one of them as fsdd.zip or fsdd "
            "(https://github.com/Jakobovski/free-spoken-digit-dataset)"
        )
    found: dict[str, list[Recording]] = {name: [] for name in SPEAKERS}
    for name, raw in _wave_files(Path(source)):
        if (matched := _NAME.fullmatch(name)) and matched[2] in found:
            found[matched[2]].append(Recording(int(matched[1]), int(matched[3]), _recording(name, raw)))
    missing = [
        f"{digit}_{name}_*.wav"
        for name, mine in found.items()
        for digit in (*TRAIN_DIGITS, *TEST_DIGITS)
        if not any(r.digit == digit for r in mine)
    ]
    if missing:
        raise TaskError(f"{source} lacks {len(missing)} kinds of recordings of FSDD, for instance {missing[0]}")
    return {name: tuple(sorted(mine, key=lambda r: (r.digit, r.take))) for name, mine in found.items()}


def _wave_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the recordings in a zip file, a folder, or its folder `recordings`."""
    try:
        if source.is_dir():
            inner = source / "recordings"
            for path in sorted((inner if inner.is_dir() else source).glob("*.wav")):
                yield path.name, path.read_bytes()
            return
        with zipfile.ZipFile(source) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".wav"):
                    yield name, archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise TaskError(
            f"cannot read the recordings of FSDD from {source} ({error}): {SOURCE_VARIABLE} names a zip "
            "file or a folder"
        ) from error


def _recording(name: str, raw: bytes) -> np.ndarray:
    from scipy.io import wavfile

    try:
        rate, samples = wavfile.read(io.BytesIO(raw))
    except (ValueError, EOFError) as error:
        raise TaskError(f"{name} is no sound file ({error}): get the data set anew") from error
    if rate != SAMPLE_RATE_HZ or samples.dtype != np.int16 or samples.ndim != 1:
        raise TaskError(
            f"{name} has {rate} Hz, {samples.dtype} {list(samples.shape)}; expected mono 16 bits at {SAMPLE_RATE_HZ} Hz"
        )
    recording: np.ndarray = (np.maximum(samples, -32_767).astype(np.float32) / np.float32(32_767))[:, None]
    recording.setflags(write=False)
    return recording


def recordings_source() -> str | None:
    """Return the zip file or folder that is named for the recordings, or None."""
    return data_source(SOURCE_VARIABLE, "fsdd.zip", "fsdd")


def recordings_available() -> bool:
    """Whether the recordings can be read here."""
    try:
        _recordings(recordings_source())
    except TaskError:
        return False
    return True


def load_recordings(names: Collection[str] = SPEAKERS) -> dict[str, tuple[Recording, ...]]:
    """Return all recordings of the named people, in order of digit and take.

    `TaskError` for an unknown name, or if the data are missing or damaged.
    """
    unknown = sorted(set(names) - set(SPEAKERS))
    if unknown:
        raise TaskError(f"unknown speakers {unknown}; the set has {', '.join(SPEAKERS)}")
    everybody = _recordings(recordings_source())
    return {name: everybody[name] for name in sorted(names)}


@dataclass(frozen=True)
class FsddTask:
    """The task as the engine sees it."""

    #: Three public people, two enrolled, and a stranger who is held out of everything.
    split: Split
    #: Which backbone: random spectral filters, or the spiking liquid state machine.
    machine: Literal["spectral", "liquid"] = "spectral"
    name: str = field(default="fsdd", init=False)

    @classmethod
    def of(cls, seed: int) -> FsddTask:
        """Return the task with the roles that a seed draws."""
        order = np.argsort(keyed_uint16(seed, "fsdd.roles", count=len(SPEAKERS)).numpy(), kind="stable")
        names = [SPEAKERS[index] for index in order]
        return cls(Split(public=tuple(names[:3]), enrolled=tuple(names[3:5]), strangers=tuple(names[5:])))

    def with_seed(self, seed: int) -> Self:
        """Return the task with the roles that another seed draws."""
        return replace(self, split=FsddTask.of(seed).split)

    def load_people(self) -> Mapping[str, Person]:
        """Return all six people, by name."""
        return {
            name: Person(
                name,
                tuple(r.recording for r in mine if r.digit in TRAIN_DIGITS),
                tuple(r.recording for r in mine if r.digit in TEST_DIGITS),
            )
            for name, mine in load_recordings().items()
        }

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return some recordings of the public people, training digits only."""
        return {
            name: [r.recording for r in mine if r.digit in TRAIN_DIGITS and r.take < CALIBRATION_TAKES]
            for name, mine in load_recordings(self.split.public).items()
        }

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the task's backbone into every node's crossbars."""
        if self.machine == "liquid":
            return Liquid.program(preset, fleet_seed, node_ids, ledger)
        return SpectralFilters.program(preset, fleet_seed, node_ids, ledger)


@dataclass(frozen=True)
class SmallFsddTask(FsddTask):
    """The same people on chips with a liquid of eight neurons: there a LoRA is worth having (docs/adr/0028)."""

    name: str = field(default="fsdd-8", init=False)

    @property
    def stage(self) -> LoraStage:
        """What the codes are of."""
        stage = FSDD_8_CODES.stage
        assert stage is not None
        return stage

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the small liquid into every node's crossbars."""
        return SmallLiquid.program(self.stage, preset, fleet_seed, node_ids, ledger)


#: The split of the demo.
FSDD = FsddTask.of(1)
FSDD_8 = SmallFsddTask.of(1)
