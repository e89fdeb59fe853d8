"""LoRA adapters as files: sealed ones of a node, and folders of Hugging Face PEFT.

A *store* is a folder with the sealed files of one node and, beside them, their keys. What is read is held
against a frozen network, which a task, a seed and the width of its hidden layer name: an adapter of another
network, a damaged file and one that lies about itself are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.errors import KeyFileError

from edge_node.backbones.filters import COARSE
from edge_node.backbones.reservoir import UNITS
from edge_node.errors import AdapterError, EdgeNodeError
from edge_node.generation.backbone_cache import cached_backbone
from edge_node.recognition.lora.frozen_base import FrozenBase
from edge_node.tasks.images import ImagesTask
from fleet.documents import document
from fleet.errors import InvalidInputError, NotFoundError
from fleet.lab.exchange.file_format import decode_adapter, largest_file_bytes
from fleet.lab.exchange.files import AdapterFiles
from fleet.lab.exchange.peft_format import export_peft, import_peft
from fleet.lab.fleets.face_fleet import FaceFleet
from fleet.lab.fleets.two_layer_faces import TwoLayerFaces, shard_plans
from fleet.lab.lora.adapter import LoraAdapter, LoraKind
from fleet.lab.replay.cohort import cohort_adapter, train_cohort
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.cohort_state import LAYER, LoraRecipe
from fleet.lab.replay.hidden_layer import hidden_signs
from fleet.lab.verification.verify import speaker_fleet
from hwmodel import Precision

#: Tasks whose networks adapters fit, and those whose cohorts can be trained here.
TASKS = ("faces", "speakers", "images")
COHORT_TASKS = ("faces", "speakers")
HIDDEN = 512
SHARDS = 2


@dataclass(frozen=True)
class Network:
    """Which frozen network adapters are held against.

    Attributes
    ----------
    task
        One of `TASKS`.
    seed
        Of its random signs; of images, of the classes that it was trained on and of the training.
    hidden
        Width of the hidden layer; images have none.
    """

    task: str
    seed: int
    hidden: int = HIDDEN

    def base(self) -> FrozenBase:
        """Return its layers and digest. That of images is trained if it is not in the cache: minutes.

        Raises
        ------
        InvalidInputError
            If there is no such task or width.
        """
        if self.task not in TASKS:
            raise InvalidInputError(f"no network of task {self.task!r}", hint=f"Known: {', '.join(TASKS)}.")
        if self.task == "images":
            task = ImagesTask.of(self.seed)
            public = task.images(task.public, test=False)
            return cached_backbone(public.levels, public.labels, self.seed).base
        if self.hidden < 1:
            raise InvalidInputError(f"a hidden layer has at least one unit; got {self.hidden}")
        # What the two-layer networks read; as `Reservoir.features`, without programming a chip.
        inputs = COARSE.features if self.task == "faces" else 2 * UNITS
        return FrozenBase.of(self.task, {LAYER: hidden_signs(self.seed, inputs, self.hidden)})


@dataclass(frozen=True)
class AdapterStore:
    """Sealed adapter files of one node.

    Attributes
    ----------
    root
        Folder with ``adapters`` and ``adapter-keys``.
    node_id
        Bound to every file: another node's do not open.
    """

    root: Path
    node_id: str

    @property
    def files(self) -> AdapterFiles:
        """The files and their keys."""
        return AdapterFiles(self.root / "adapters", KeyStore(self.root / "adapter-keys"), self.node_id)

    def names(self) -> tuple[str, ...]:
        """Return the names of the adapters that are there."""
        return self.files.names()

    def save(self, adapter: LoraAdapter) -> None:
        """Write or replace an adapter under a new key."""
        with _refusing():
            self.files.save_adapter(adapter)

    def load(self, name: str, base: FrozenBase, *, oldest_generation: int = 0) -> LoraAdapter:
        """Open an adapter that fits a network.

        Raises
        ------
        NotFoundError
            If there is none of the name.
        InvalidInputError
            If it does not open, or is refused.
        """
        if name not in self.names():
            there = ", ".join(self.names()) or "none"
            raise NotFoundError(f"there is no adapter {name[:80]!r} in {self.root}", hint=f"There: {there}.")
        with _refusing():
            return self.files.load_adapter(name, base, oldest_generation=oldest_generation)

    def destroy(self, name: str) -> bool:
        """Erase an adapter, its key first; False if there was none."""
        with _refusing():
            return self.files.destroy_adapter(name)


def train_cohorts(network: Network, *, shards: int = SHARDS) -> list[LoraAdapter]:
    """Train a task's enrolled people in shards on a simulated fleet; return each shard's LoRA.

    Raises
    ------
    InvalidInputError
        If the task has no cohorts, or its data are not here.
    """
    if network.task not in COHORT_TASKS:
        raise InvalidInputError(
            f"task {network.task!r} has no cohorts", hint=f"With cohorts: {', '.join(COHORT_TASKS)}."
        )
    base = network.base()
    with _refusing():
        seed = network.seed
        fleet = FaceFleet.of(seed) if network.task == "faces" else speaker_fleet(seed)
        two, recipe = TwoLayerFaces.of(seed, fleet, network.hidden), LoraRecipe(a_seed=seed)
        starts = RidgeStarts(two.nodes, recipe.gain)
        return [
            cohort_adapter(train_cohort(plan, two.nodes, starts), base, recipe, plan.shard)
            for plan in shard_plans(two, seed, recipe, shards)
            if plan.entries
        ]


def read_adapter(
    path: Path, base: FrozenBase, *, name: str, kind: str, generation: int = 0, storage: str = "fp32"
) -> LoraAdapter:
    """Read a PEFT folder or a plain safetensors file of ours, trusting nothing in it.

    Parameters
    ----------
    path, base
        What to read, and the network that it must fit.
    name, kind, generation, storage
        What a PEFT folder does not say. A file of ours says it itself; it must not be older than the
        generation.

    Raises
    ------
    NotFoundError
        If there is no such file or folder.
    InvalidInputError
        With the reason, if it is refused.
    """
    if not path.exists():
        raise NotFoundError(f"there is no {path}")
    with _refusing():
        if path.is_dir():
            fields: dict[str, Any] = {"name": name, "kind": _one_of(LoraKind, kind)}
            fields |= {"storage": _one_of(Precision, storage), "built_at_generation": generation}
            return import_peft(path, base, **fields)
        with path.open("rb") as file:
            content = file.read(largest_file_bytes(base) + 1)
        return decode_adapter(content, base, oldest_generation=generation)


def write_peft(adapter: LoraAdapter, base: FrozenBase, folder: Path, *, personal_in_the_clear: bool) -> None:
    """Write an adapter for PEFT.

    Raises
    ------
    InvalidInputError
        For an adapter about people, unless that it leaves the store unencrypted is meant.
    """
    if adapter.spec.kind.personal and not personal_in_the_clear:
        raise InvalidInputError(
            f"adapter {adapter.spec.name} is about people ({adapter.spec.kind.value}): PEFT files are not "
            "encrypted, and no forget reaches them",
            hint="--personal-in-the-clear writes them all the same.",
        )
    with _refusing():
        export_peft(adapter, base, folder, personal_in_the_clear=personal_in_the_clear)


def adapter_document(adapter: LoraAdapter) -> dict[str, Any]:
    """Return what an adapter says about itself, its size and its digest; never its numbers."""
    spec = adapter.spec
    return document(
        "Adapter",
        name=spec.name,
        adapter_kind=spec.kind.value,
        personal=spec.kind.personal,
        task=spec.task,
        base_digest=spec.base_digest,
        layers=list(spec.layers),
        rank=spec.rank,
        alpha=spec.alpha,
        storage=spec.storage.value,
        frozen_a=spec.a_seed is not None,
        built_at_generation=spec.built_at_generation,
        sram_bytes=adapter.byte_count,
        digest=adapter.digest.hex(),
    )


def _one_of(kinds: Any, text: str) -> Any:
    if text not in list(kinds):
        raise InvalidInputError(f"{text[:80]!r} is none of {', '.join(kinds)}")
    return kinds(text)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn a refusal of the node's code into the operator's error, with its reason."""
    try:
        yield
    except AdapterError as error:
        raise InvalidInputError(f"refused: {error}") from error
    except KeyFileError as error:
        raise InvalidInputError(f"refused: {error}", hint="Without its key, a file is erased.") from error
    except EdgeNodeError as error:
        raise InvalidInputError(str(error)) from error
