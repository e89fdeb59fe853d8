"""Who listens at an address: also told to a user from whom the kernel hides the process."""

from __future__ import annotations

import socket
import subprocess
import sys

import psutil
import pytest

from fleet.doctor.target import Listener, listener
from tests.components import WITHOUT_ROOT

#: Opens a port as a user, hides its files as a coordinator does, and says where it listens.
LISTEN = """
import os, socket, sys
from reram_fleet.processes.hardening import keep_memory_private
os.setuid({user})
keep_memory_private()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
#: Looks who listens there, as a user.
LOOK = """
# Before there is another user: Python itself may lie in a folder that this one does not enter.
import encodings.idna
import os
import psutil
from fleet.doctor.target import listener
os.setuid({user})
found = listener("127.0.0.1:{port}")
print(found.pid, found.user_id, found.may_be(psutil.Process({process})))
"""
COORDINATOR, STRANGER = 60_001, 60_002


def python(script):
    return [sys.executable, "-c", script]


def looked_at(listening_user, process_of):
    with subprocess.Popen(
        python(LISTEN.format(user=listening_user)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        port = int(process.stdout.readline())
        script = LOOK.format(user=COORDINATOR, port=port, process=process_of(process))
        done = subprocess.run(python(script), capture_output=True, text=True, timeout=60, check=True)
        process.stdin.close()
    return done.stdout.split()


@pytest.mark.skipif(WITHOUT_ROOT, reason="only root takes other users")
def test_a_hidden_process_of_the_same_user_may_be_the_coordinator():
    assert looked_at(COORDINATOR, lambda process: process.pid) == ["None", str(COORDINATOR), "True"]


@pytest.mark.skipif(WITHOUT_ROOT, reason="only root takes other users")
def test_a_hidden_process_of_another_user_is_not_the_coordinator():
    with subprocess.Popen(
        python(LISTEN.format(user=COORDINATOR)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as own:
        own.stdout.readline()
        assert looked_at(STRANGER, lambda _: own.pid) == ["None", str(STRANGER), "False"]
        own.stdin.close()


def test_a_process_that_is_seen_is_told_by_its_id():
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = listener(f"127.0.0.1:{server.getsockname()[1]}")

    assert found.may_be(psutil.Process())
    assert not Listener(found.pid, "").may_be(psutil.Process().parent())
