"""`edge-node run`: one process with engine, journal, link, EngineService, metrics and SuperNode."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from contextlib import ExitStack

import torch
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.hardening import keep_files_private, keep_memory_private
from reram_fleet.v1.types_pb2 import EnergyModel

from edge_node.agent.context import NodeContext, SystemClock
from edge_node.agent.link import NodeLink
from edge_node.agent.metrics import NodeCollector, serve_metrics
from edge_node.agent.node import Node
from edge_node.agent.node_engine import build_engine
from edge_node.agent.service import EngineService, serve
from edge_node.agent.supervision import DISABLED, supernode
from edge_node.config import RunSettings
from edge_node.errors import NodeError
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ProgrammedChip
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher
from hwmodel import PresetError, load_preset

logger = logging.getLogger(__name__)


def run(settings: RunSettings) -> None:
    """Run a node until SIGTERM or SIGINT; `EdgeNodeError` if the state folder is not ready, or a port is taken."""
    keep_memory_private()
    keep_files_private()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # A device has one small core; and several nodes share a machine in tests and demos.
    torch.set_num_threads(1)
    folder = settings.state
    try:
        preset = load_preset(settings.preset)
    except PresetError as error:
        raise NodeError(str(error)) from error
    keys, enrollment = NodeKeys.load(folder), folder.load_enrollment()
    folder.create()
    with folder.locked(), ExitStack() as closing:
        # Addresses of a run that was killed must not mislead a launcher.
        folder.run.unlink(missing_ok=True)
        folder.check_journal()
        journal = Journal.open(folder.journal, keys.node_id)
        folder.note_journal_made()
        closing.callback(journal.close)
        chip = ProgrammedChip(settings.task, preset.name, settings.fleet_seed)
        journal.check_chip(chip)
        engine, image_generator = build_engine(settings, preset, keys.node_id, journal.costs())
        with journal.transaction():
            journal.note_chip(chip)
        node = Node(
            NodeContext(
                keys=keys,
                enrollment=enrollment,
                journal=journal,
                cipher=RecordCipher.of(folder, keys.node_id),
                engine=engine,
                image_generator=image_generator,
                energy_model=EnergyModel(name=preset.name, version=preset.version),
                task=settings.task,
                clock=SystemClock(),
            )
        )
        closing.callback(node.close)
        link = NodeLink(
            node,
            enrollment.node_service_address,
            heartbeat_s=settings.heartbeat_s,
            connect_delay_s=settings.connect_delay_s,
            on_refusal=lambda reason: write_run_file(reason),
        )
        learner = None

        def supernode_state() -> str:
            return learner.state.value if learner else DISABLED

        service = EngineService(node, connected=lambda: link.connected, supernode=supernode_state, changed=link.wake)
        server, engine_address = serve(service, folder.load_or_create_engine_token(), settings.engine_port)
        closing.callback(lambda: server.stop(grace=1.0).wait())
        metrics_server, metrics_address = serve_metrics(
            NodeCollector(node, lambda: link.connected, supernode_state), settings.metrics_port
        )
        closing.callback(metrics_server.server_close)
        closing.callback(metrics_server.shutdown)
        if settings.learning and enrollment.flower_fleet_address:
            learner = supernode(folder, keys, enrollment, engine_address)
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
