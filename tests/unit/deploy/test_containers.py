"""Images and compose files: by their checkers, and what each service is not given."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest
import yaml

from tests.deployment import COMPOSE, DEPLOY, run, services, settings
from tests.house import ROOT

DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
COMPOSE_FILES = sorted(COMPOSE.glob("*.yaml"))
#: Ends when it has made the secrets, and is root to give them away.
SETUP = "setup"


def running():
    return {name: service for name, service in services().items() if name != SETUP}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing_in_a_dockerfile(dockerfile):
    assert run("hadolint", "--no-color", dockerfile) == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_built_on_an_exact_version_and_ends_as_a_user_without_rights(dockerfile):
    text = dockerfile.read_text()
    stages = text.split("\nFROM ")[1:]
    ending = [stage for stage in stages if "ENTRYPOINT" in stage]

    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    assert {re.match(r"\S+", stage)[0] for stage in stages} <= {"${PYTHON}", "installed"}
    assert ending
    for stage in ending:
        assert [int(uid) for uid in re.findall(r"^USER (\d+):", stage, re.MULTILINE)][-1] > 0
        assert "HEALTHCHECK" in stage


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_not_kept_out_of_the_context(dockerfile):
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile.read_text(), re.MULTILINE)
        for source in line.split()
    ]

    assert {"fleet", "edge_node", "hwmodel", "proto", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        kept_out = False
        for rule in ignored:
            if fnmatch(source, rule.removeprefix("!")):
                kept_out = not rule.startswith("!")
        assert not kept_out, source


def test_the_context_of_images_has_nothing_that_is_not_named():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    assert rules[0] == "*"
    assert {rule for rule in rules[1:] if not rule.startswith("!")} == {"**/__pycache__"}


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_a_compose_file_keeps_to_the_specification(path):
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_each_secret_network_and_volume_that_a_service_names_is_declared(path):
    declared = [yaml.safe_load(each.read_text()) for each in COMPOSE_FILES]
    known = {
        kind: {name for file in declared for name in file.get(kind, {})} for kind in ("secrets", "networks", "volumes")
    }

    for service in yaml.safe_load(path.read_text())["services"].values():
        assert set(service.get("secrets", ())) <= known["secrets"]
        assert set(service.get("networks", ())) <= known["networks"]
        named = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert {name for name in named if not name.startswith((".", "/"))} <= known["volumes"]


def test_every_variable_of_the_compose_files_is_in_the_example():
    used = {name for path in COMPOSE_FILES for name in re.findall(r"\$\{(\w+)", path.read_text())}

    assert used == set(settings(COMPOSE / ".env.example"))


def test_every_service_is_hardened_and_bounded():
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for name, service in running().items():
        assert "cap_add" not in service, name
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service), name
        assert service["image"].partition(":")[2] not in ("", "latest"), name
        # Ours are in the images.
        assert "healthcheck" in service or service["image"].startswith("reram-fleet/"), name


def test_the_superlink_has_neither_keys_nor_a_database_and_shares_a_network_with_the_coordinator_alone():
    superlink = running()["superlink"]
    networks = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["networks"]

    assert set(superlink["networks"]) == {"learning"}
    assert networks["learning"] == {"internal": True}
    assert {name for name, each in services().items() if "learning" in each["networks"]} == {"superlink", "coordinator"}
    assert superlink["secrets"] == ["fleet-superlink.pem", "fleet-superlink.key"]
    assert [volume.split(":")[0] for volume in superlink["volumes"]] == ["superlink", "./secrets/learning"]
    assert "ports" not in superlink


def test_the_database_has_no_network_and_only_the_coordinator_has_its_socket_and_password():
    postgres = running()["postgres"]
    with_socket = {
        name
        for name, each in services().items()
        if any("postgres-socket" in volume for volume in each.get("volumes", ()))
    }

    assert postgres["network_mode"] == "none"
    assert with_socket == {"postgres", "coordinator"}
    assert {name for name, each in services().items() if "pgpass" in each.get("secrets", ())} == {"coordinator"}


def test_beyond_this_machine_are_published_only_ports_that_have_tls():
    published = {port for service in services().values() for port in service.get("ports", ())}

    assert {port for port in published if not port.startswith("127.0.0.1:")} == {"9800:9800", "9801:9801"}
