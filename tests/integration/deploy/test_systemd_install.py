"""The how-to of systemd, typed into a machine that systemd has booted; then a fleet is operated there."""

from __future__ import annotations

import json
import os

import pytest

from tests.deployment import UNITS, unit
from tests.how_to import commands
from tests.integration.deploy.machine import booted, missing

#: The test's machine has them installed already, of this tree.
INSTALLS = ("apt-get install ", "python3.11 -m venv ", "/opt/reram-fleet/bin/pip install ")
NODE = "/var/lib/fleet-node/node-1"
SERVICES = ("fleet-superlink", "fleet-coordinator", "fleet-node@node-1", "prometheus", "prometheus-alertmanager")


@pytest.fixture(scope="module")
def machine():
    if reason := missing():
        (pytest.fail if "CI" in os.environ else pytest.skip)(reason)
    typed = [line for line in commands("deploy-systemd.md", prompt="#") if not line.startswith(INSTALLS)]
    with booted() as started:
        # Stands for the DNS of whoever has fleet.example.
        started.run("echo 127.0.0.1 fleet.example >> /etc/hosts")
        try:
            started.run("\n".join(typed), timeout_s=240)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{started.journal()}") from None
        # What an operator has exported stays in their shell.
        started.prelude = "\n".join(line for line in typed if line.startswith("export "))
        started.wait("fleet node list -o json | grep -q '\"serving\"'")
        yield started


def people(machine):
    """Enrol two people on the node, once; return the tag of each."""
    script = """
        for person in s01 s02; do
            ticket=$(fleet registry enroll $person --node node-1)
            edge-node enroll --state {node} --ticket "$ticket" --person $person >/dev/null
        done
    """
    if not machine.enrolled:
        machine.run(script.format(node=NODE))
        machine.enrolled = True


def names(machine, person):
    said = json.loads(machine.run(f"edge-node identify --state {NODE} --person {person}"))
    return said


def test_every_unit_runs_under_the_user_that_it_names(machine):
    for service in SERVICES:
        assert machine.run(f"systemctl is-active {service}").strip() == "active"
    for path in UNITS:
        name = path.stem.replace("@", "@node-1")
        (user,) = unit(path)["User"]
        pid = machine.run(f"systemctl show --property=MainPID --value {name}").strip()
        assert machine.run(f"ps -o user:32= -p {pid}").strip() == user


def test_systemd_finds_nothing_wrong_with_the_installed_units(machine):
    installed = " ".join(f"/etc/systemd/system/{path.name}" for path in UNITS)

    assert machine.run(f"systemd-analyze verify --man=no {installed} 2>&1") == ""


def test_prometheus_sees_every_target_up(machine):
    query = "curl -fsS http://127.0.0.1:9090/api/v1/query --data-urlencode 'query=up'"
    machine.wait(f"{query} | grep -q fleet-nodes")
    machine.wait(f"! {query} | grep -q '\"0\"'")

    up = {each["metric"]["job"] for each in json.loads(machine.run(query))["data"]["result"]}

    assert up == {"prometheus", "alertmanager", "fleet-coordinator", "fleet-nodes"}


def test_nobody_and_nodes_do_not_reach_the_superlink_but_the_coordinator_does(machine):
    ask = "curl --silent --output /dev/null --cacert /etc/fleet/ca.pem https://127.0.0.1:9802/health"

    machine.run(f"setpriv --reuid=fleet-coordinator --clear-groups {ask}")
    for stranger in ("nobody", "fleet-node", "root"):
        # 7: the connection is refused.
        assert machine.run(f"setpriv --reuid={stranger} --clear-groups {ask} || echo $?").strip() == "7"


def test_the_superlink_sees_neither_keys_nor_the_database(machine):
    pid = machine.run("systemctl show --property=MainPID --value fleet-superlink").strip()
    listed = "nsenter --target {} --mount ls {} 2>/dev/null || true"

    assert "command.key" in machine.run("ls /var/lib/fleet-coordinator/keys")
    for folder in ("/var/lib/fleet-coordinator", "/etc/fleet/pki", "/run/postgresql", "/var/lib/fleet-node"):
        assert machine.run(listed.format(pid, folder)) == ""


def test_a_learning_job_runs_through_the_attached_superlink(machine):
    people(machine)

    job = json.loads(machine.run("fleet learn start --rounds 1 --wait --timeout 120 -o json", timeout_s=150))

    assert job["state"] == "succeeded", machine.journal()


def test_a_forget_converges_and_its_certificate_holds(machine):
    people(machine)

    machine.run("fleet forget create --subject s01 --yes --wait --timeout 120", timeout_s=150)
    machine.run("fleet certificate issue 1 --output /tmp/certificate.json")
    machine.run("fleet certificate verify /tmp/certificate.json")

    assert names(machine, "s01") != "s01"


def test_a_killed_coordinator_is_started_again_and_its_node_goes_on(machine):
    before = machine.run("systemctl show --property=MainPID --value fleet-coordinator")

    machine.run("systemctl kill --signal=KILL fleet-coordinator")

    machine.wait("fleet node list -o json | grep -q '\"serving\"'")
    assert machine.run("systemctl show --property=MainPID --value fleet-coordinator") != before
