from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.doctor.certificates import check_certificates
from fleet.doctor.findings import State
from fleet.doctor.target import Target
from fleet.trust.tls import Authority, ServerFiles
from tests.components import WITHOUT_ROOT


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority.create(tmp_path / "pki", "test")


@pytest.fixture
def served(tmp_path, authority) -> Iterator:
    """Serve TLS on a port, and return what is said of what it shows."""
    sockets = []

    def serve(host: str = "127.0.0.1", days: int = 400, ca: Path = tmp_path / "pki" / "ca.pem"):
        files = ServerFiles.of(tmp_path, "server")
        authority.issue(files, "server", [host], days=days)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate_path, files.key_path)
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)
        threading.Thread(target=_answer, args=(listening, context), daemon=True).start()
        return list(check_certificates(Target(address=f"127.0.0.1:{listening.getsockname()[1]}", ca_file=ca)))

    yield serve
    for each in sockets:
        each.close()


def _answer(listening: socket.socket, context: ssl.SSLContext) -> None:
    try:
        connection, _ = listening.accept()
        with connection, context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)
    except OSError:
        # The client refuses it.
        return


def test_a_good_certificate_is_told_with_its_names_and_end(served):
    shown, pinned = served()
    assert (shown.state, pinned.state) == (State.OK, State.OK)
    assert "ends in 399 days, for 127.0.0.1" in shown.found
    assert "which nodes and clients pin, ends in 3,649 days" in pinned.found


def test_one_that_ends_soon_is_a_warning_and_one_that_has_ended_a_failure(served):
    assert served(days=20)[0].state is State.WARNING
    (ended,) = served(days=0)
    assert (ended.state, ended.found.endswith("certificate has expired")) == (State.FAILURE, True)


def test_one_for_another_name_or_of_another_authority_is_a_failure(served, tmp_path):
    (other_name,) = served(host="fleet.example")
    assert "IP address mismatch" in other_name.found
    Authority.create(tmp_path / "other", "other")
    (other_authority,) = served(ca=tmp_path / "other" / "ca.pem")
    assert other_authority.state is State.FAILURE
    assert "self-signed certificate in certificate chain" in other_authority.found


def test_no_known_authority_is_a_failure():
    (finding,) = check_certificates(Target(address="127.0.0.1:1"))
    assert (finding.state, finding.fix) == (State.FAILURE, "--ca FILE, or FLEET_CA")


def test_a_socket_in_a_folder_that_others_enter_is_a_failure(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    target = Target(address=f"unix:{tmp_path / 'run' / 'fleet.sock'}")
    assert [each.state for each in check_certificates(target)] == [State.OK]
    (tmp_path / "run").chmod(0o755)
    assert [each.state for each in check_certificates(target)] == [State.FAILURE]


@pytest.mark.parametrize("place", ["tls/server", "flower/tls/superlink"])
def test_files_in_the_folder_are_held_against_each_other(folder, found, place):
    where, name = (folder.root / place).parent, Path(place).name
    authority, files = Authority.create(where, "test"), ServerFiles.of(where, name)
    authority.issue(files, name, ["127.0.0.1", "localhost"])
    assert found("certificates", State.FAILURE) == []

    authority.issue(files, name, ["127.0.0.1", "localhost"], days=0)
    (ended,) = found("certificates", State.FAILURE)
    assert "certificate has expired" in ended.found

    authority.issue(files, name, ["127.0.0.1", "localhost"])
    key = files.key_path.read_bytes()
    authority.issue(files, name, ["127.0.0.1", "localhost"])
    files.key_path.write_bytes(key)
    (pair,) = found("certificates", State.FAILURE)
    assert "the key is of another certificate" in pair.found


@pytest.mark.skipif(WITHOUT_ROOT, reason="only root may look at the files of another user")
def test_files_of_another_user_are_not_judged_by_what_root_may(folder, found):
    authority, files = Authority.create(folder.tls, "test"), ServerFiles.of(folder.tls, "server")
    authority.issue(files, "server", ["localhost"])
    os.chown(files.key_path, 65534, 65534)
    (finding,) = [each for each in found("certificates") if str(files.key_path) in each.found]
    assert finding.state is State.UNKNOWN
