"""Secrets that the how-tos make by hand: whose they are, and that what is mounted is what is asked for."""

from __future__ import annotations

import os
import stat
import subprocess
import sysconfig

import pytest
import yaml

from fleet.trust.tls import Authority, names_of, read_certificates
from tests.components import WITHOUT_ROOT
from tests.deployment import COMPOSE, OVERLAYS, checker, of_kind, services, typed

BIN = sysconfig.get_path("scripts")
USERS = {"coordinator": 10001, "superlink": 10002, "postgres": 999, "grafana": 472, "alertmanager": 65534}


def shell(script, folder):
    path = os.pathsep.join([BIN, os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    if WITHOUT_ROOT:
        pytest.skip("only root gives files away")
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    folder.mkdir()
    shell(f"sh {COMPOSE / 'make-secrets.sh'} {folder} fleet.example", folder)
    return folder


def test_every_secret_of_compose_is_made_for_the_one_user_that_reads_it(secrets):
    files = {
        name: each["file"].removeprefix("./secrets/")
        for path in COMPOSE.glob("compose*.yaml")
        for name, each in yaml.safe_load(path.read_text())["secrets"].items()
    }
    for service, content in services().items():
        for name in content.get("secrets", ()):
            found = (secrets / files[name]).stat()
            if name.endswith("ca.pem"):
                assert stat.S_IMODE(found.st_mode) == 0o444
            else:
                assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (USERS[service], 0o400), name
    token = (secrets / "learning/learning.token").stat()
    assert (token.st_uid, token.st_gid, stat.S_IMODE(token.st_mode)) == (0, 10010, 0o440)
    assert stat.S_IMODE((secrets / "authority").stat().st_mode) == 0o700


def test_certificates_are_for_the_names_by_which_servers_are_called(secrets):
    def names(server):
        return set(names_of(read_certificates(secrets / f"{server}.pem")[0]))

    assert {"fleet.example", "fleet-coordinator", "localhost"} <= names("fleet-coordinator")
    assert {"fleet-superlink", "localhost", "127.0.0.1"} <= names("fleet-superlink")


def test_the_superlinks_certificate_is_of_an_authority_that_nodes_and_operators_do_not_trust(secrets):
    for server, trusted in (("fleet-coordinator", "ca.pem"), ("fleet-superlink", "learning/superlink-ca.pem")):
        certificate = read_certificates(secrets / f"{server}.pem")[0]
        for authority in ("ca.pem", "learning/superlink-ca.pem"):
            vouched = Authority(read_certificates(secrets / authority)[0], None).vouches_for(certificate)
            assert vouched == (authority == trusted), (server, authority)


def test_secrets_are_made_once(secrets):
    before = {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()}

    shell(f"sh {COMPOSE / 'make-secrets.sh'} {secrets} fleet.example", secrets)

    assert {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """Secrets and ConfigMaps that the how-to of Kubernetes makes by hand, each with its keys."""
    checker("kubectl")
    folder = tmp_path_factory.mktemp("kubernetes")
    lines = typed("deploy-kubernetes.md")
    first = next(number for number, line in enumerate(lines) if line.startswith("kubectl"))
    shell("\n".join(lines[:first]), folder)
    made = {}
    for line in lines:
        if line.startswith(("kubectl create secret", "kubectl create configmap")) and "enrollments" not in line:
            rendered = yaml.safe_load(shell(f"{line} --dry-run=client --output=yaml", folder))
            made[rendered["kind"], rendered["metadata"]["name"]] = set(rendered["data"])
    return made


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_file_that_a_pod_opens_is_in_what_is_mounted_there(overlay, by_hand):
    for workload in of_kind(overlay, "StatefulSet").values():
        pod = workload["spec"]["template"]["spec"]
        mounted = {
            volume["name"]: by_hand["Secret" if "secret" in volume else "ConfigMap", name]
            for volume in pod["volumes"]
            for name in [volume.get("secret", {}).get("secretName") or volume.get("configMap", {}).get("name")]
            if name in {known for _, known in by_hand}
        }
        for container in pod["containers"]:
            said = [*container.get("args", ()), *(str(each.get("value")) for each in container.get("env", ()))]
            for mount in container["volumeMounts"]:
                if mount["name"] in mounted:
                    opened = {
                        word.partition(f"{mount['mountPath']}/")[2] for word in said if f"{mount['mountPath']}/" in word
                    }
                    assert opened <= mounted[mount["name"]], container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_secret_that_the_how_to_makes_is_used(overlay, by_hand):
    text = yaml.safe_dump_all(of_kind(overlay, "StatefulSet").values())
    unused = {name for _, name in by_hand if f": {name}\n" not in text}

    # In `prod`, PostgreSQL is somebody else's.
    assert unused == (set() if overlay == "dev" else {"postgres"})
