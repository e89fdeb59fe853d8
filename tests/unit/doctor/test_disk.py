from __future__ import annotations

import ctypes
import os
import resource
import shutil

import pytest
from reram_fleet.v1.operator_pb2 import GetFleetResponse

from fleet.coordinator.folder import CoordinatorFolder
from fleet.doctor.disk import check_disk
from fleet.doctor.findings import State
from fleet.doctor.target import Answer, Target

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or _libc.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, b"size=8m,nr_inodes=500"):
        pytest.skip("this user may not mount a small file system")
    yield place
    _libc.umount2(str(place).encode(), 0)


def test_a_full_disk_is_a_failure_in_bytes_and_in_inodes(folder, small_disk, found):
    shutil.copytree(folder.root, small_disk / "coordinator")
    room, inodes = found("disk", State.FAILURE, CoordinatorFolder(small_disk / "coordinator"))
    assert "MiB free under" in room.found
    assert "inodes free under" in inodes.found
    assert room.fix.startswith("make room")


def test_more_nodes_than_files_that_may_be_open_are_a_failure(folder):
    fleet = GetFleetResponse(nodes_registered=100)
    target = Target(folder=folder, answer=Answer(fleet, (), (), 0, 0))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        *_, finding = check_disk(target)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (finding.state, "100 nodes need one each" in finding.found) == (State.FAILURE, True)
    *_, finding = check_disk(target)
    assert finding.state is State.OK
