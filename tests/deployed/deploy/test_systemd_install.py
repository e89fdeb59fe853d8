"""The how-to of systemd, typed into a machine that systemd has booted; then a fleet is operated there."""

from __future__ import annotations

import json

import pytest

from tests.deployed.deploy.machine import booted, wanted
from tests.deployment import UNITS, typed, unit

#: The test's machine has them installed already, of this tree.
INSTALLS = ("apt-get install ", "python3.11 -m venv ", "/opt/reram-fleet/bin/pip install ")
LINES = typed("deploy-systemd.md")
#: Finds nothing wrong once Prometheus has looked for the first time.
(DOCTOR,) = (line for line in LINES if " doctor " in line)
NODE = "/var/lib/fleet-node/node-1"
SERVING = 'fleet node list --format json | grep -q \'"serve_state": "serving"\''
UP = "curl -fsS http://127.0.0.1:9090/api/v1/query --data-urlencode query=up"


@pytest.fixture(scope="module")
def machine():
    """A machine on which everything of the page has been typed, and whose node serves."""
    wanted()
    lines = [line for line in LINES if line != DOCTOR and not line.startswith(INSTALLS)]
    with booted() as started:
        # Stands for the DNS of whoever has fleet.example.
        started.run("echo 127.0.0.1 fleet.example >> /etc/hosts")
        started.type(lines)
        started.exported = tuple(line for line in lines if line.startswith("export "))
        started.wait(SERVING)
        yield started


@pytest.fixture(scope="module")
def people(machine):
    """The tag of each of two people who are enrolled on the node."""
    for person in ("s01", "s02"):
        machine.run(
            f"""
            ticket=$(fleet registry enroll {person} --node node-1)
            edge-node enroll --state {NODE} --ticket "$ticket" --person {person}
            """
        )
    listed = json.loads(machine.run("fleet registry list --format json"))["items"]
    return {each["person"]: each["tag"] for each in listed}


def recognised(machine, person):
    """Return by which tags a person is accepted."""
    answers = json.loads(machine.run(f"edge-node identify --state {NODE} --person {person}"))["answers"]
    return {answer["bestTag"] for answer in answers if answer["accepted"]}


def test_every_unit_runs_under_the_user_that_it_names(machine):
    for path in UNITS:
        name = path.stem.replace("@", "@node-1")
        (user,) = unit(path)["User"]
        assert machine.run(f"systemctl is-active {name}").strip() == "active"
        pid = machine.run(f"systemctl show --property=MainPID --value {name}").strip()
        assert machine.run(f"ps -o user:32= -p {pid}").strip() == user


def test_systemd_finds_nothing_wrong_with_the_installed_units(machine):
    installed = " ".join(f"/etc/systemd/system/{path.name}" for path in UNITS)

    assert machine.run(f"systemd-analyze verify --man=no {installed} 2>&1") == ""


def test_prometheus_sees_every_target_up(machine):
    jobs = {"prometheus", "alertmanager", "fleet-coordinator", "fleet-nodes"}
    for job in jobs:
        machine.wait(f'{UP} | grep -q \'"job":"{job}"\'')
    machine.wait(f"! {UP} | grep -q '\"0\"\\]'")

    up = json.loads(machine.run(UP))["data"]["result"]

    assert {each["metric"]["job"] for each in up} == jobs
    assert {each["value"][1] for each in up} == {"1"}


def test_the_doctor_finds_nothing_wrong(machine):
    machine.wait(DOCTOR)

    findings = json.loads(machine.run(f"{DOCTOR} --format json"))["findings"]

    # Who listens to the SuperLink's port is seen by root only.
    unsure = {each["area"] for each in findings if each["state"] != "ok"}
    assert unsure <= {"isolation"}, findings


def test_nobody_but_the_coordinator_reaches_the_superlink(machine):
    ask = "curl --silent --output /dev/null --insecure https://127.0.0.1:9802/health"

    machine.run(f"setpriv --reuid=fleet-coordinator --clear-groups {ask}")
    for stranger in ("nobody", "fleet-node", "root"):
        # 7: the connection is refused.
        assert machine.run(f"setpriv --reuid={stranger} --clear-groups {ask} || echo $?").strip() == "7"


def test_the_superlink_sees_neither_keys_nor_the_database(machine):
    pid = machine.run("systemctl show --property=MainPID --value fleet-superlink").strip()

    for folder in ("/var/lib/fleet-coordinator", "/etc/fleet/pki", "/run/postgresql", "/var/lib/fleet-node"):
        assert machine.run(f"ls -A {folder}") != ""
        assert machine.run(f"nsenter --target {pid} --mount ls -A {folder}") == ""


def test_a_forget_converges_and_its_certificate_holds(machine, people):
    assert recognised(machine, "s01") == {people["s01"]}

    forget = machine.run("fleet forget create --subject s01 --yes --wait --timeout 120 --format json", timeout_s=150)

    assert json.loads(forget)["state"] == "converged"
    assert recognised(machine, "s01") == set()
    key = json.loads(machine.run("fleet status --format json"))["fleet"]["command_public_key"]
    machine.run(
        f"""
        fleet certificate issue {json.loads(forget)["campaign_id"]} --output /tmp/certificate.json
        fleet certificate verify /tmp/certificate.json --public-key {key}
        """
    )


def test_a_learning_job_runs_through_the_superlink_of_another_user(machine, people):
    assert people

    found = machine.run("fleet learn start --shards 1 --rounds 1 --wait --timeout 120 --format json", timeout_s=150)

    assert [job["state"] for job in json.loads(found)["items"]] == ["succeeded"], machine.journal()


def test_a_killed_coordinator_is_started_again_and_its_node_goes_on(machine):
    shown = "systemctl show --property=MainPID --value fleet-coordinator"
    before = machine.run(shown)

    machine.run("systemctl kill --signal=KILL fleet-coordinator")

    machine.wait(SERVING)
    assert machine.run(shown) != before
