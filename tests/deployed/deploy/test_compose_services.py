"""The how-to of Compose, typed where systemd starts the services: each as its user, with its secrets and volumes."""

from __future__ import annotations

import pytest

from tests.deployed.deploy.machine import booted, wanted
from tests.deployment import typed

DOCKER = """
cat > /opt/reram-fleet/bin/docker <<'END'
#!/bin/sh
exec /opt/reram-fleet/bin/python -m tests.deployed.deploy.compose_by_systemd "$@"
END
chmod 0755 /opt/reram-fleet/bin/docker
# Users that images have, and names that networks give.
groupadd --system --gid 10010 fleet-learning
for user in 999 10001 10002 10003; do
    groupadd --non-unique --gid $user image-$user
    useradd --non-unique --uid $user --gid $user image-$user
done
echo 127.0.0.1 fleet.example fleet-coordinator fleet-superlink >> /etc/hosts
mkdir /opt/clone
cp -r deploy /opt/clone/deploy
# All services have one network here: the second node would find the port of its metrics taken.
sed --in-place '/^  node-2:/,/^$/d' /opt/clone/deploy/compose/compose.yaml
"""
USERS = {
    "coordinator": 10001,
    "superlink": 10002,
    "postgres": 999,
    "node-1": 10003,
    "prometheus": 65534,
    "alertmanager": 65534,
}


@pytest.fixture(scope="module")
def machine():
    """A machine on which everything of the page has been typed."""
    wanted()
    lines = [line for line in typed("deploy-compose.md") if "node-2" not in line]
    with booted() as started:
        started.run(DOCKER)
        assert lines[0] == "cd deploy/compose"
        started.exported = ("cd /opt/clone/deploy/compose",)
        started.type(lines[1:])
        yield started


def test_every_service_runs_as_its_user(machine):
    for service, user in USERS.items():
        pid = machine.run(f"systemctl show --property=MainPID --value compose-{service}").strip()
        assert machine.run(f"ps -o uid= -p {pid}").strip() == str(user), service


def test_the_node_serves(machine):
    listed = "docker compose exec -T coordinator fleet node list --format json"

    machine.wait(f'{listed} | grep -q \'"serve_state": "serving"\'')


def test_the_superlink_is_given_nothing_but_its_certificate_and_what_jobs_need(machine):
    seen = machine.run("docker compose exec -T superlink sh -c 'ls /run/secrets /run/learning /var/lib /run'").split()

    assert {name for name in seen if not name.endswith(":")} == {
        *("fleet-superlink.pem", "fleet-superlink.key", "learning.token", "ca.pem", "superlink-ca.pem"),
        *("secrets", "learning", "systemd", "fleet-superlink"),
    }


def test_prometheus_sees_every_target_up(machine):
    query = "curl -fsS http://127.0.0.1:9090/api/v1/query --data-urlencode query=up"

    for job in ("prometheus", "alertmanager", "fleet-coordinator", "fleet-nodes"):
        machine.wait(f'{query} | grep -q \'"job":"{job}"\'')
    machine.wait(f"! {query} | grep -q '\"0\"\\]'")


def test_no_service_writes_outside_of_its_volumes(machine):
    compose = "docker compose --file compose.yaml --file compose.monitoring.yaml"

    for service in USERS:
        said = machine.run(f"{compose} exec -T {service} sh -c 'touch /opt/x /etc/x 2>&1 || true; touch /tmp/x'")
        assert said.count("Read-only file system") == 2, service
