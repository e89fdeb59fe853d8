"""A node that generates, with a small image generator that tests can hold up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from reram_fleet.crypto import signing
from reram_fleet.v1 import engine_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.errors import EngineError
from edge_node.generation.engine import GenerationEngine
from edge_node.generation.image_generator import GeneratedImages, LearntClass
from edge_node.testing import FakeClock, FakeCoordinator, open_node
from hwmodel import Cost, EnergyLedger, Phase, load_preset

FEATURES = 12
NOTHING = {phase: Cost() for phase in Phase}


@dataclass
class FakeImageGenerator:
    """Image generator that learns the sum of pixels and generates its adapter's first code; at once, unless held."""

    features: int = FEATURES
    learnt: list[int] = field(default_factory=list)
    #: Called in the midst of the work.
    meanwhile: Callable[[], object] = lambda: None
    free: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)
    held: bool = False

    def learn(self, subject_tag, levels, progress):
        self._work()
        progress(1, 2)
        self.learnt.append(len(levels))
        codes = np.arange(FEATURES, dtype=np.int32) + int(levels.sum()) % 1000
        return LearntClass(codes, {**NOTHING, Phase.TRAIN: Cost(1e-3, 0.1)})

    def generate_subject(self, adapter, style, count, seed):
        self._work()
        return self._images(adapter.code_sum[0] // adapter.count, count, seed)

    def generate_class(self, name, style, count, seed):
        if name not in {"d1", "d2"}:
            raise EngineError(f"there is no class {name!r}")
        return self._images(int(name[1]), count, seed)

    def _images(self, value, count, seed):
        levels = np.full((count, 8, 8, 3), (value + seed) % 17, np.uint8)
        return GeneratedImages(levels, {**NOTHING, Phase.INFER: Cost(1e-6 * count, 0.0)})

    def _work(self):
        self.busy.set()
        if self.held:
            assert self.free.wait(30)
        self.meanwhile()


def make_engine(saved):
    ledger = EnergyLedger(1)
    ledger.restore(saved)
    return GenerationEngine(
        ["node-1"],
        load_preset("180nm-1t1r"),
        features=FEATURES,
        cell_writes=torch.tensor([64]),
        wear=torch.zeros(1),
        ledger=ledger,
    )


@dataclass
class Device:
    """A node in a folder, and the coordinator beside it."""

    root: Path
    coordinator: FakeCoordinator = field(default_factory=FakeCoordinator)
    clock: FakeClock = field(default_factory=FakeClock)
    image_generator: FakeImageGenerator = field(default_factory=FakeImageGenerator)
    node: Node = field(init=False)

    def __post_init__(self):
        self.start()

    def start(self):
        self.node = open_node(
            self.root, self.coordinator, self.clock, make_engine=make_engine, image_generator=self.image_generator
        )
        self.keys, self.journal = self.node.context.keys, self.node.context.journal
        self.engine = self.node.context.engine

    def restart(self):
        self.node.close()
        self.start()

    def lease(self):
        (heartbeat,) = (m.heartbeat for m in self.node.heartbeat() if m.WhichOneof("message") == "heartbeat")
        return self.node.receive(self.coordinator.lease("node-1", heartbeat.lease_nonce))

    def forget(self, *tags):
        return self.node.receive(self._log(tags))

    def _log(self, tags):
        self.coordinator.forget(*tags)
        return self.coordinator.log_after(len(self.coordinator.log) - 1)

    def generate(self, tag=None, name=None, count=2, seed=0):
        return self.node.generate(engine_pb2.GenerateRequest(subject_tag=tag, class_name=name, count=count, seed=seed))

    def refusal(self, tag):
        answer = self.generate(tag)
        assert bool(answer.levels) == (not answer.refusal)
        return engine_pb2.TagRefusal.Name(answer.refusal).removeprefix("TAG_REFUSAL_")

    def install(self, number, *subjects):
        (answer,) = self.node.receive(self.coordinator.revision(self.keys.identity, number, subjects))
        assert answer.revision_result.active, answer.revision_result.refusal

    def erase(self, generation, revision, *probes):
        answers = self.node.receive(self.coordinator.erase(generation, revision, probes=probes))
        (envelope,) = (m.receipt for m in answers if m.WhichOneof("message") == "receipt")
        return signing.open_envelope(envelope, types.Receipt, self.keys.identity.receipt_public_key)

    def adapters_digest(self):
        return self.node._adapters.digests.all


def images(shade=0.5, count=3):
    return [np.full((24, 72), shade, np.float32) + np.float32(number / 32) for number in range(count)]
