"""`edge-node run`: one process with engine, journal, link, EngineService, metrics and SuperNode."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from reram_fleet.processes import flower
from reram_fleet.processes.addresses import is_local
from reram_fleet.processes.backoff import Backoff
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.hardening import keep_files_private, keep_memory_private
from reram_fleet.processes.supervised import SupervisedProcess
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.v1.types_pb2 import EnergyModel

from edge_node.agent.context import NodeContext, SystemClock
from edge_node.agent.link import NodeLink
from edge_node.agent.metrics import NodeCollector, NodeHealth, serve_metrics
from edge_node.agent.node import Node
from edge_node.agent.service import EngineService, serve
from edge_node.config import StateFolder
from edge_node.engine import NodeEngine
from edge_node.errors import NodeError
from edge_node.recognition.engine import Engine
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ProgrammedChip
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher
from edge_node.tasks import RecognitionTask, load_task
from hwmodel import Cost, Phase, Preset, PresetError, load_preset

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator

logger = logging.getLogger(__name__)

# The SuperNode keeps its port over restarts.
_PORTS = range(20_000, 32_000)
#: Of the SuperNode: to start it takes two CPU seconds, and one that is refused may have to wait for a minute.
_BACKOFF = Backoff(first_s=10.0, longest_s=20.0)


def run(
    folder: StateFolder,
    chip: ProgrammedChip,
    *,
    metrics_port: int,
    learning: bool,
    connect_delay_s: float,
    heartbeat_s: float,
    calibrate_every_s: float | None,
) -> None:
    """Run a node until SIGTERM or SIGINT; `EdgeNodeError` if the state folder is not ready, or a port is taken.

    Parameters
    ----------
    metrics_port
        0 takes a free one; `run.json` says which.
    learning
        Whether to run a SuperNode, if the fleet has a SuperLink.
    connect_delay_s
        Upper bound of the random wait before the first connection.
    calibrate_every_s
        Between two calibrations of the chip; None: only at this start.
    """
    keep_memory_private()
    keep_files_private()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # A device has one small core; and several nodes share a machine in tests and demos.
    torch.set_num_threads(1)
    try:
        preset = load_preset(chip.preset)
    except PresetError as error:
        raise NodeError(str(error)) from error
    # It may have been given as the path of a file.
    chip = replace(chip, preset=preset.name)
    keys, enrollment = NodeKeys.load(folder), folder.load_enrollment()
    folder.create()
    with folder.locked(), ExitStack() as closing:
        # Addresses of a run that was killed must not mislead a launcher.
        folder.run.unlink(missing_ok=True)
        folder.check_journal()
        journal = Journal.open(folder.journal, keys.node_id)
        folder.note_journal_made()
        closing.callback(journal.close)
        journal.check_chip(chip)
        clock = SystemClock()
        made_ms = journal.programmed_at_unix_ms() or clock.unix_ms()
        engine, image_generator = _build_engine(
            chip, preset, keys.node_id, journal.costs(), lambda: (clock.unix_ms() - made_ms) / 1000
        )
        with journal.transaction():
            journal.note_chip(chip, made_ms)
        node = Node(
            NodeContext(
                keys=keys,
                enrollment=enrollment,
                journal=journal,
                cipher=RecordCipher.of(folder, keys.node_id),
                engine=engine,
                image_generator=image_generator,
                energy_model=EnergyModel(name=preset.name, version=preset.version),
                task=chip.task,
                clock=clock,
                heartbeat_s=heartbeat_s,
                calibrate_every_s=calibrate_every_s,
            )
        )
        closing.callback(node.close)
        link = NodeLink(
            node,
            enrollment.node_service_address,
            ca_pem=enrollment.coordinator_ca_pem.encode(),
            connect_delay_s=connect_delay_s,
            on_refusal=lambda reason: write_run_file(reason),
        )
        learner = None

        def supernode_state() -> str:
            return learner.state.value if learner else "disabled"

        service = EngineService(node, connected=lambda: link.connected, supernode=supernode_state, changed=link.wake)
        server, engine_address = serve(service, folder.load_or_create_engine_token(), folder.engine_socket)
        closing.callback(lambda: server.stop(grace=1.0).wait())
        metrics_server, bound_port = serve_metrics(
            NodeCollector(node, lambda: link.connected, supernode_state),
            NodeHealth(node, lambda: link.connected),
            metrics_port,
        )
        closing.callback(metrics_server.server_close)
        closing.callback(metrics_server.shutdown)
        metrics_address = f"127.0.0.1:{bound_port}"
        # Metrics are on the loopback interface: a coordinator elsewhere could not tell Prometheus where they are.
        node.metrics_port = bound_port if is_local(enrollment.node_service_address) else 0
        if learning and enrollment.flower_fleet_address:
            learner = _supernode(folder, enrollment, engine_address)
            learner.start()
            closing.callback(learner.stop)

        def write_run_file(refusal: str = "") -> None:
            content = {
                "pid": os.getpid(),
                "node_id": keys.node_id,
                "engine_address": engine_address,
                "metrics_address": metrics_address,
                "refusal": refusal,
            }
            write_atomically(folder.run, json.dumps(content, indent=2).encode())

        closing.callback(folder.run.unlink, missing_ok=True)
        write_run_file()
        link.start()
        closing.callback(link.stop)
        logger.info("%s runs: engine %s, metrics %s", keys.node_id, engine_address, metrics_address)
        stop.wait()
        logger.info("%s ends", keys.node_id)


def _build_engine(
    chip: ProgrammedChip, preset: Preset, node_id: str, saved: Mapping[Phase, Cost], age_s: Callable[[], float]
) -> tuple[NodeEngine, ImageGenerator | None]:
    """Program a node's chip; return what runs on it, and what generates images if the task is such a one.

    `TaskError` if there is no such task, or its data are not here.

    Parameters
    ----------
    saved
        Cumulative costs from the node's journal, empty at the first start. A chip that was programmed before is
        regenerated from its seed without charging again.
    age_s
        Returns how long ago the chip was programmed; of a node that generates it is read as it was programmed.
    """
    task = load_task(chip.task)
    if isinstance(task, RecognitionTask):
        costs = [saved] if saved else None
        return Engine.build(task, preset, chip.fleet_seed, [node_id], saved_costs=costs, age_s=age_s), None
    # Imported here: a node that recognises has no use for the transformer.
    from edge_node.generation.engine import GenerationEngine
    from edge_node.generation.image_generator import ImageGenerator

    image_generator = ImageGenerator.build(task, preset, chip.fleet_seed, node_id)
    return GenerationEngine.beside(image_generator, node_id, preset, saved), image_generator


def _supernode(folder: StateFolder, enrollment: EnrollNodeResponse, engine_address: str) -> SupervisedProcess:
    """Return the supervised `flower-supernode` of this node, not started yet.

    After a SIGKILL the SuperLink takes the old one for online. The coordinator's proxy says for the new one that it has
    left, unless it was restarted meanwhile: then the new one ends with code 305, and is started again until it is let
    in, for up to a minute. `NodeError` if Flower is not installed.
    """
    folder.create()
    write_atomically(folder.flower_ca, enrollment.flower_ca_pem.encode())
    node_config = {
        flower.ENGINE_ADDRESS_KEY: engine_address,
        flower.ENGINE_TOKEN_FILE_KEY: str(folder.engine_token.resolve()),
    }
    # JSON strings are TOML basic strings. A file: on the command line, quotes in a path would be misread.
    toml = "".join(f"{key} = {json.dumps(value)}\n" for key, value in node_config.items())
    write_atomically(folder.supernode_config, toml.encode())
    try:
        program = flower.program("flower-supernode")
    except FileNotFoundError as error:
        raise NodeError(str(error)) from error
    return SupervisedProcess(
        name="flower-supernode",
        command=[
            program,
            "--superlink",
            enrollment.flower_fleet_address,
            "--root-certificates",
            str(folder.flower_ca.resolve()),
            "--auth-supernode-private-key",
            str(folder.flower_key.resolve()),
            "--node-config",
            str(folder.supernode_config.resolve()),
            "--port",
            str(flower.free_port(_PORTS)),
        ],
        log_path=folder.logs / "supernode.log",
        environment=flower.process_environment(folder.flower.resolve()),
        backoff=_BACKOFF,
        helper=flower.SUPEREXEC,
    )
