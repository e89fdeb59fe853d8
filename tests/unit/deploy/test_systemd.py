"""Units of systemd: by its own checkers, and who reads what."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.deployment import DEPLOY, EXPOSURE, UNITS, checker, exposure_of, unit
from tests.house import ROOT


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_a_unit(path):
    done = subprocess.run(
        [checker("systemd-analyze"), "verify", "--man=no", path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "is not executable: No such file" not in line]

    # Its programs are installed in tests/deployed/deploy, where it is verified whole.
    assert [line for line in complaints if path.name.partition(".")[0].rstrip("@") in line] == []


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_exposed_no_more_than_it_must(path):
    assert exposure_of(path) <= EXPOSURE


def test_each_unit_has_a_user_of_its_own_that_is_made():
    users = {path.name: unit(path)["User"] for path in UNITS}
    made = re.findall(r"^u (\S+)", (DEPLOY / "systemd/sysusers.d/reram-fleet.conf").read_text(), re.MULTILINE)

    assert sorted(user for (user,) in users.values()) == sorted(made)
    assert len(set(made)) == len(UNITS)


def test_the_coordinators_folder_is_its_own_and_shut_to_the_superlink():
    folders = re.findall(
        r"^d (\S+)\s+(\d+) (\S+) (\S+)", (DEPLOY / "systemd/tmpfiles.d/reram-fleet.conf").read_text(), re.MULTILINE
    )
    superlink = unit(DEPLOY / "systemd/fleet-superlink.service")

    assert ("/var/lib/fleet-coordinator", "0700", "fleet-coordinator", "fleet-coordinator") in folders
    assert ("/etc/fleet/pki", "0700", "root", "root") in folders
    shut = superlink["InaccessiblePaths"][0].replace("-/", "/").split()
    assert {"/var/lib/fleet-coordinator", "/run/postgresql", "/etc/fleet/pki"} <= set(shut)
    assert superlink["IPAddressDeny"] == ["any"]
    assert superlink["IPAddressAllow"] == ["localhost"]
