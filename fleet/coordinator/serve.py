"""`fleet serve`: composition of the coordinator, start and end."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import grpc.aio
from reram_fleet.crypto.key_store import FileKeyStore, KeyStore
from reram_fleet.crypto.randomness import SYSTEM, Randomness
from reram_fleet.processes.addresses import is_loopback
from reram_fleet.processes.channel import listen_on_socket
from reram_fleet.processes.durable import locked, write_atomically
from reram_fleet.processes.hardening import keep_files_private, keep_memory_private
from reram_fleet.processes.monitoring import renew_certificate, serve_monitoring
from reram_fleet.v1 import learning_pb2_grpc, node_pb2_grpc, operator_pb2_grpc

from fleet.config import SERVE_FILE, ConfigError, ServeSettings
from fleet.coordinator.authentication import TokenInterceptor
from fleet.coordinator.core import Coordinator, LearningPlane
from fleet.coordinator.database import Database, ThreadedDatabase
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.learning_service import LearningService
from fleet.coordinator.metrics import pages
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.metrics.health import Health
from fleet.coordinator.node_service import NodeService
from fleet.coordinator.operator_service import OperatorService
from fleet.coordinator.reconcile import LearningReconciler, reconcile_forgets
from fleet.coordinator.shared_folder import SharedFolder
from fleet.coordinator.tls import Endpoint, ServerTls, called, check, publish_ca
from fleet.coordinator.work import Environment
from fleet.domain.addresses import host_port
from fleet.domain.tags import new_id
from fleet.errors import ConflictError, FleetError, StoreError
from fleet.learning.ports import remembered_port
from fleet.store.commits import CommitListener
from fleet.store.database import Store, Transaction
from fleet.store.rows import FleetRow
from fleet.trust.keys import CoordinatorKeys, Signer

logger = logging.getLogger(__name__)

#: A revision for thousands of people fits; larger ones will need chunks.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
#: A node holds one, an operator's command or a learning job a few.
MAX_CALLS = 50_000
STOP_GRACE_S = 1.0
#: How often it is looked whether the TLS certificate is due.
_RENEW_EVERY_S = 3600.0

_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Two coordinators on one port would each see half of the calls.
    ("grpc.so_reuseport", 0),
    # What is buffered of a stream that nobody reads stays at the 64 KiB that HTTP/2 begins with: the probe
    # raises that to megabytes (measured: 970 MiB for 200 streams, against 53 MiB).
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Of a connection without a call; nodes hold one for as long as they live.
    ("grpc.max_connection_idle_ms", 60_000),
    # A machine that lost its power sends no FIN: without pings, TCP would wait for minutes. Nodes that send no
    # heartbeats are given up sooner; a ping every 2 s took a third of what an idle fleet costs.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The limit that a ping without an answer runs into; a minute by default.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


#: Objects that are made before the collector looks for cycles: of thousands of nodes' messages, nearly none is in one.
COLLECT_EVERY = (10_000, 20, 20)


def run(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `ConflictError` if another coordinator serves from the same state folder; `StoreError` or `ConfigError` if
    the database or the learning plane cannot be opened.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # One line per request that the proxy passes on: thousands an hour, and nothing to learn from them.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    keep_memory_private()
    keep_files_private()
    if settings.flower_ca is not None:
        _check_authority(settings.flower_ca)
    check(settings)
    folder = CoordinatorFolder(settings.state, settings.database)
    folder.create()
    folder.check()
    with _only_one(folder):
        # Again: another one may have been starting here.
        folder.check()
        gc.set_threshold(*COLLECT_EVERY)
        asyncio.run(_serve(settings, folder))


@contextmanager
def _only_one(folder: CoordinatorFolder) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder.lock, wait=False))
        except BlockingIOError:
            raise ConflictError(f"another coordinator serves from {folder.root}") from None
        except OSError as error:
            raise ConfigError(f"cannot write {folder.lock}: {error.strerror or error}", hint="--state DIR") from error
        yield


async def _serve(settings: ServeSettings, folder: CoordinatorFolder) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keys = CoordinatorKeys.load_or_create(folder.keys)
    tls = ServerTls.open(settings, folder)
    learning_token = keys.learning_token
    if settings.learning_folder is not None:
        learning_token = SharedFolder(settings.learning_folder).read_token(tls.ca_pem)
    store = Store.open(folder.database_url)
    database = ThreadedDatabase(store)
    plane: LearningPlane | None = None
    coordinator: Coordinator | None = None
    health: Health | None = None
    tasks: list[asyncio.Task[None]] = []
    calls = CallMeter()
    server = grpc.aio.server(
        interceptors=[
            calls,
            TokenInterceptor(
                {
                    "reram_fleet.v1.OperatorService": keys.operator_token,
                    "reram_fleet.v1.LearningService": learning_token,
                }
            ),
        ],
        options=_SERVER_OPTIONS,
        maximum_concurrent_rpcs=MAX_CALLS,
    )
    try:
        coordinator = await open_fleet(
            settings, database, keys, holder=f"{socket.gethostname()}:{os.getpid()}", tls=tls
        )
        plane = coordinator.learning
        # The generated code has no types.
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(OperatorService(coordinator), server)  # type: ignore[no-untyped-call]
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeService(coordinator), server)  # type: ignore[no-untyped-call]
        learning_pb2_grpc.add_LearningServiceServicer_to_server(LearningService(coordinator), server)  # type: ignore[no-untyped-call]
        coordinator.endpoint = _bind(server, settings, tls, folder)
        tasks.append(asyncio.create_task(coordinator.serve_changes()))
        await take_up(coordinator)
        health = Health(coordinator)
        metrics = _serve_metrics(coordinator, calls, health, tls)
        coordinator.metrics_address = host_port(called(settings), metrics.server_port)
        # Suppression must never wait for Flower: the control plane is up before the learning plane.
        await server.start()
        health.serving = True
        tasks.append(asyncio.create_task(reconcile_forgets(coordinator)))
        tasks.append(asyncio.create_task(_hear_of_commits(coordinator, store.others_commits())))
        if plane is not None:
            await asyncio.to_thread(plane.start)
            tasks.append(asyncio.create_task(LearningReconciler(coordinator, plane).run()))
        tasks.append(asyncio.create_task(_renew_certificate(tls, plane, metrics)))
        _write_serve_file(coordinator)
        logger.info("fleet %s is served at %s", coordinator.env.fleet_id, coordinator.endpoint.address)
        if coordinator.env.awaited:
            logger.warning(
                "restored from a backup: no forget is taken and no lease granted before %d nodes have reconnected "
                "(`fleet status`; `fleet admin accept-restore` goes on without them)",
                len(coordinator.env.awaited),
            )
        if not coordinator.env.registry_public_key:
            logger.warning("no registry key is known: nobody can be enrolled; serve with --registry-key")
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done - {waiting}:
            # A loop that ends is a defect: end with its error, so that whoever supervises us starts anew.
            task.result()
    finally:
        if health is not None:
            health.serving = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop(STOP_GRACE_S)
        if coordinator is not None:
            try:
                await coordinator.write_contacts()
            except FleetError as error:
                logger.warning("what nodes said last is not written: %s", error)
        if plane is not None:
            await asyncio.to_thread(plane.stop)
        database.close()


async def _hear_of_commits(coordinator: Coordinator, commits: CommitListener) -> None:
    """Announce what other processes have committed as if it were ours, for ever."""
    async with commits:
        while True:
            await commits.wait()
            coordinator.env.revision_checked = None
            coordinator.dispatcher.wake()
            coordinator.announce()


async def _renew_certificate(tls: ServerTls, plane: LearningPlane | None, metrics: WSGIServer) -> None:
    """Keep the TLS certificate fresh, for ever: ports of gRPC look at its files themselves."""
    while True:
        await asyncio.sleep(_RENEW_EVERY_S)
        try:
            await asyncio.to_thread(tls.renew)
            renew_certificate(metrics, tls.files.pair)
            if plane is not None:
                plane.proxy.renew_certificate()
        except (FleetError, OSError) as error:
            logger.warning("the TLS certificate is not renewed: %s", error)


def _check_authority(ca: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        # An ssl.SSLError names no file.
        raise ConfigError(
            f"{ca} is no CA certificate that a SuperLink can be checked with: {error.strerror or error}",
            hint="--flower-ca takes the PEM file of the SuperLink's authority",
        ) from error


def _bind(server: grpc.aio.Server, settings: ServeSettings, tls: ServerTls, folder: CoordinatorFolder) -> Endpoint:
    advertised = settings.advertised
    if settings.socket is not None:
        try:
            address = listen_on_socket(server, settings.socket)
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen at {settings.host}: {error}", hint="--host names another place"
            ) from error
        folder.ca.unlink(missing_ok=True)
        if advertised is None or advertised.port is None or settings.tls_ca is None:
            return Endpoint(address=address, node_address=address)
        in_front = host_port(advertised.host, advertised.port)
        return Endpoint(address=address, node_address=in_front, node_ca_pem=settings.tls_ca.read_bytes())
    # Nodes keep the address: it must be the same after a restart.
    port = settings.port or remembered_port(folder.port)
    port = _take(server, host_port(settings.bound_host, port), tls.credentials())
    if advertised is not None and advertised.port is not None:
        port = advertised.port
    address = host_port(called(settings), port)
    return Endpoint(address, publish_ca(folder, tls.ca_pem), address, tls.ca_pem)


def _take(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen at {address}: the port is in use, or this machine has no such address",
            hint="`ss -ltnp` names who holds it; --port and --host name another place",
        ) from error


def _serve_metrics(coordinator: Coordinator, calls: CallMeter, health: Health, tls: ServerTls) -> WSGIServer:
    settings = coordinator.env.settings
    # Nothing in them is secret; but beyond this machine they must be ours.
    certificate = None if is_loopback(settings.bound_host) else tls.files.pair
    try:
        server, _ = serve_monitoring(
            settings.bound_host, settings.metrics_port, pages(coordinator, calls, health), certificate
        )
    except OSError as error:
        raise ConfigError(
            f"cannot serve metrics at {settings.bound_host}:{settings.metrics_port}: {error.strerror or error}",
            hint="--metrics-port names another port, 0 a free one",
        ) from error
    return server


async def open_fleet(
    settings: ServeSettings,
    database: Database,
    keys: Signer,
    *,
    holder: str,
    tls: ServerTls | None = None,
    secrets: KeyStore | None = None,
    randomness: Randomness = SYSTEM,
) -> Coordinator:
    """Return the coordinator of a fleet, made if there is none, which leads it from now on.

    Its learning plane is prepared, and not started, if there is a certificate that it can show; `holder` says in the
    database who leads; the keys that are destroyed to erase are files in the folder, unless `secrets` holds them.

    Raises what `fleet_of` raises; `ConfigError` if the learning plane cannot be opened.
    """
    folder = CoordinatorFolder(settings.state, settings.database)
    fleet = await database.run(lambda tx: fleet_of(tx, settings, keys, randomness))
    folder.note_made()
    # Not before it is known that this is the fleet's database and these are its keys.
    database.store.lead(holder)
    plane = LearningPlane.open(settings, tls, folder.learning_token) if settings.learning and tls is not None else None
    env = Environment(
        settings=settings,
        fleet_id=fleet.fleet_id,
        registry_public_key=fleet.registry_public_key or b"",
        keys=keys,
        secrets=FileKeyStore(folder.secrets) if secrets is None else secrets,
        randomness=randomness,
        learning=plane,
        contacts=database.store.contacts,
        started_at_ms=database.store.now_ms(),
    )
    return Coordinator(env, database, plane)


async def take_up(coordinator: Coordinator) -> None:
    """Take up what an earlier process has left, however it ended."""
    await coordinator.run(lambda unit: unit.contributions.bind_to_rows())
    await coordinator.run(lambda unit: unit.leases.take_up())
    coordinator.env.secrets.sweep_leftovers()
    await coordinator.destroy_orphaned_keys()


def fleet_of(tx: Transaction, settings: ServeSettings, keys: Signer, randomness: Randomness = SYSTEM) -> FleetRow:
    """Return the fleet of a database, made if there is none, with what the settings and keys fix for good.

    Raises `ConflictError` if it was told another task, or another registry's key, before, or is the fleet of other
    keys; `StoreError` if the folder has had a fleet that the database does not know.
    """
    folder = CoordinatorFolder(settings.state, settings.database)
    if tx.fleet.find() is None:
        if folder.has_fleet():
            raise StoreError(
                f"{folder.database or 'the database'} knows no fleet, but there was one",
                hint="bring the folder and its database back from one backup; --database names another one",
            )
        tx.fleet.create(new_id(tx.now_ms, randomness.draw))
    tx.fleet.fix_command_key(keys.command_public_key)
    tx.fleet.fix_task(settings.task)
    if settings.registry_key:
        tx.fleet.fix_registry_key(settings.registry_key)
    return tx.fleet.get()


def _write_serve_file(coordinator: Coordinator) -> None:
    state, endpoint = coordinator.env.settings.state, coordinator.endpoint
    served = {
        "pid": os.getpid(),
        "address": endpoint.address,
        "ca_file": None if endpoint.ca_path is None else str(endpoint.ca_path.relative_to(state)),
        "metrics_address": coordinator.metrics_address,
        "token_file": str(CoordinatorFolder(state).operator_token.relative_to(state)),
        "fleet_id": coordinator.env.fleet_id,
    }
    write_atomically(state / SERVE_FILE, json.dumps(served, indent=2).encode())
