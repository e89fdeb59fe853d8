"""Unix sockets of services: in whose folder, how long their path may be, and that no other process loses its own."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from reram_fleet.errors import ConflictError, InvalidInputError
from reram_fleet.processes.channel import is_unvouched, listen_on_socket, open_channel
from reram_fleet.processes.unix_socket import LONGEST_PATH, is_too_long, socket_address

from fleet.trust.tls import Authority
from tests.tls import local_tls


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a private folder with a short path, which a test's own need not have."""
    with TemporaryDirectory() as name:
        yield Path(name)


def test_a_socket_in_a_private_folder_has_an_address(folder: Path) -> None:
    assert socket_address(folder / "s") == f"unix:{folder}/s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "s"))
    # Of a process that was killed.
    assert socket_address(folder / "s") == f"unix:{folder}/s"


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_a_folder_that_others_enter_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(InvalidInputError, match=f"{mode:04o}"):
        socket_address(folder / "s")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user, which root alone can")
def test_the_folder_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, 65534, 65534)
    try:
        with pytest.raises(InvalidInputError, match="belongs to user 65534"):
            socket_address(folder / "s")
    finally:
        os.chown(folder, 0, 0)


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        socket_address(folder / "absent" / "s")


def test_a_socket_on_which_somebody_listens_is_not_taken(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()
        with pytest.raises(ConflictError, match="somebody listens"):
            socket_address(folder / "s")


# Channels


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


@pytest.fixture
def server() -> Iterator[grpc.Server]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Echo()])
    yield server
    server.stop(grace=None).wait()


def call(address: str, ca_pem: bytes) -> bytes:
    with open_channel(address, ca_pem) as channel:
        answer: bytes = channel.unary_unary("/test.Echo/Say")(b"hello", timeout=30)
        return answer


def test_a_channel_reaches_a_socket_without_an_authority(server: grpc.Server, folder: Path) -> None:
    address = listen_on_socket(server, folder / "s")
    server.start()
    assert call(address, b"") == b"hello"


@pytest.mark.parametrize("beyond", [0, 1, 100])
def test_a_socket_is_reached_however_long_its_path_is(server: grpc.Server, folder: Path, beyond: int) -> None:
    path = folder / ("x" * (LONGEST_PATH + beyond - len(str(folder)) - 3)) / "s"
    path.parent.mkdir(mode=0o700)
    address = listen_on_socket(server, path)
    assert (address, is_too_long(path)) == (f"unix:{path}", beyond > 0)
    server.start()
    open_files = len(os.listdir("/proc/self/fd"))
    assert call(address, b"") == b"hello"
    with pytest.raises(ConflictError, match="somebody listens"):
        socket_address(path)
    gc.collect()
    # The server closes its end a moment after the caller has closed its own.
    deadline = time.monotonic() + 10.0
    while (left := len(os.listdir("/proc/self/fd"))) > open_files and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left <= open_files


def test_nobody_is_there_where_the_folder_is_not(folder: Path) -> None:
    for name in ("absent", "x" * LONGEST_PATH):
        with pytest.raises(grpc.RpcError) as refused:
            call(f"unix:{folder / name / 's'}", b"")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_channel_reaches_a_port_only_with_its_authority(server: grpc.Server) -> None:
    address = local_tls().listen(server)
    server.start()
    assert call(address, local_tls().ca_pem) == b"hello"
    with pytest.raises(InvalidInputError, match="no CA certificate"):
        call(address, b"")
    with pytest.raises(grpc.RpcError) as refused:
        call(address, Authority.new("another").pem)
    assert is_unvouched(refused.value)


def test_a_plain_server_is_not_spoken_to(server: grpc.Server) -> None:
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with pytest.raises(grpc.RpcError) as refused:
        call(address, local_tls().ca_pem)
    assert is_unvouched(refused.value)


def test_nobody_at_all_is_another_matter() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(grpc.RpcError) as refused:
            call(f"127.0.0.1:{bound.getsockname()[1]}", local_tls().ca_pem)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not is_unvouched(refused.value)
