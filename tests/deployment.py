"""Files of `deploy/` as tests read them, and the programs that check such files."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.components import lacking
from tests.deployed.docs.console import commands_of
from tests.house import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OVERLAYS = ("dev", "prod")
#: Of 10, by `systemd-analyze security`: what a unit may reach.
EXPOSURE = 2.5
#: Debian's packages of the checkers that pip does not bring.
_PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "kubectl": "kubernetes-client",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
}


def checker(name: str) -> str:
    """Return the path of a program; without it the test fails in CI, and is skipped elsewhere."""
    path = shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    if path is None:
        package = _PACKAGES.get(name)
        how = f"apt-get install {package}" if package else "pip install 'reram-fleet[dev]'"
        lacking(f"{name} is not installed: {how}")
    return path


def run(name: str, *arguments: str | Path) -> str:
    """Run a checker in the tree and return what it prints; `AssertionError` with that if it refuses."""
    done = subprocess.run([checker(name), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def exposure_of(path: Path) -> float:
    """Return what `systemd-analyze security` says of a unit."""
    said = run("systemd-analyze", "security", "--offline=true", "--threshold=100", "--no-pager", path)
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def settings(path: Path) -> dict[str, str]:
    """Return the variables of a file of NAME=VALUE."""
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


@cache
def services() -> Mapping[str, Any]:
    """Return the services of both compose files, with the variables of .env.example put in."""
    found: dict[str, Any] = {}
    variables = settings(COMPOSE / ".env.example")
    for name in ("compose.yaml", "compose.monitoring.yaml"):
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda m: variables[m[1]], (COMPOSE / name).read_text())
        for service, content in yaml.safe_load(text)["services"].items():
            known = found.setdefault(service, {})
            known["networks"] = {**_mapping(known.get("networks")), **_mapping(content.get("networks"))}
            known.update({key: value for key, value in content.items() if key != "networks"})
    return found


def _mapping(networks: Any) -> dict[str, Any]:
    return networks if isinstance(networks, dict) else dict.fromkeys(networks or ())


@cache
def objects(overlay: str) -> tuple[Any, ...]:
    """Return what an overlay is, as Kubernetes is given it."""
    return tuple(yaml.load_all(run("kubectl", "kustomize", DEPLOY / "k8s/overlays" / overlay), yaml.CSafeLoader))


def of_kind(overlay: str, kind: str) -> dict[str, Any]:
    """Return the objects of a kind by their names."""
    return {each["metadata"]["name"]: each for each in objects(overlay) if each["kind"] == kind}


def typed(page: str) -> list[str]:
    """Return what a page of `docs/operations` says to type, in its order."""
    return [command.text for command in commands_of((ROOT / "docs/operations" / page).read_text(encoding="utf-8"))]


def unit(path: Path) -> dict[str, list[str]]:
    """Return the settings of a unit: each with the values that it is given, in their order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith(("#", "[")):
            found.setdefault(name, []).append(value.strip())
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield where a command of ours, of Flower or of Prometheus stands, and its words, with the variables put in."""
    for path in UNITS:
        variables = {"CREDENTIALS_DIRECTORY": "/run/credentials"}
        for assignment in " ".join(unit(path)["Environment"]).split():
            name, _, value = assignment.partition("=")
            variables[name] = value
        for line in unit(path)["ExecStart"]:
            words = re.sub(r"\$\{(\w+)\}", lambda m, known=variables: known[m[1]], line.replace("$FLEET_OPTIONS", ""))
            program, *arguments = shlex.split(words.replace("%i", "node-1"))
            yield path.name, [Path(program).name, *arguments]
    programs = {"node-1": "edge-node", "coordinator": "fleet", "superlink": "flower-superlink"}
    for service, content in services().items():
        if "command" in content and (program := programs.get(service, service)) != "postgres":
            yield f"compose: {service}", [program, *content["command"]]
    yield from _commands_of_pods()


def _commands_of_pods() -> Iterator[tuple[str, list[str]]]:
    programs = {"init": "edge-node", "node": "edge-node", "coordinator": "fleet", "superlink": "flower-superlink"}
    for overlay in OVERLAYS:
        maps = [each.get("data", {}) for name, each in of_kind(overlay, "ConfigMap").items() if "settings" in name]
        variables = {"POD_NAME": "fleet-node-0", **{key: value for data in maps for key, value in data.items()}}
        for name, workload in of_kind(overlay, "StatefulSet").items():
            pod = workload["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                if "args" in container and "command" not in container and container["name"] != "postgres":
                    words = [
                        re.sub(r"\$\((\w+)\)", lambda m, known=variables: known[m[1]], word)
                        for word in container["args"]
                    ]
                    program = programs.get(container["name"], container["name"])
                    yield f"{overlay}: {name}/{container['name']}", [program, *words]
