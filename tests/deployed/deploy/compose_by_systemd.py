"""Stand-in for `docker compose` where no container engine is: services as transient units of systemd.

Carried over is what the compose file and the Dockerfiles say of a service: entry point, command, environment, user,
groups, read-only root, dropped capabilities, temporary file systems, secrets, volumes, health checks, what waits for
what. Not carried over: images, and networks, of which all services have the machine's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VOLUMES = Path("/srv/volumes")
#: What images that are not built here start; that of Grafana is not to be had, and left out.
OTHERS = {"prom/prometheus": ["prometheus"], "prom/alertmanager": ["prometheus-alertmanager"]}
#: As the image of PostgreSQL does when its volume is empty.
POSTGRES = """
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
data=/var/lib/postgresql/data
if [ ! -s $data/PG_VERSION ]; then
    initdb -D $data --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D $data postgres
fi
exec postgres -D $data -k /run/postgresql "$@"
"""


@dataclass
class Image:
    """What a Dockerfile says of a stage."""

    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    @classmethod
    def built(cls, dockerfile: Path, target: str | None) -> Image:
        """Read a Dockerfile up to a stage, the last one if none is named."""
        stages: dict[str, Image] = {}
        image = cls()
        for line in dockerfile.read_text().replace("\\\n", "").splitlines():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                base, _, name = rest.partition(" AS ")
                parent = stages.get(base, cls())
                image = stages[name] = cls(dict(parent.environment), parent.user)
            elif word == "ENV":
                image.environment.update(pair.split("=", 1) for pair in shlex.split(rest))
            elif word == "USER":
                image.user = rest
            elif word == "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            elif word == "HEALTHCHECK":
                image.health = json.loads(rest.partition("CMD ")[2])
        return stages[target] if target else image


class Compose:
    """The services of the compose files in this folder."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.folder = folder
        lines = (folder / ".env").read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        self.secrets: dict[str, Any] = {}
        self.services: dict[str, Any] = {}
        for name in files or ["compose.yaml"]:
            text = re.sub(r"\$\{(\w+)[^}]*\}", lambda m: variables[m[1]], (folder / name).read_text())
            file = yaml.safe_load(text)
            self.secrets |= file["secrets"]
            for service, content in file["services"].items():
                self.services.setdefault(service, {}).update(content)
        self.services.pop("grafana", None)

    def image(self, name: str) -> Image:
        """Return the image of a service."""
        build = self.services[name].get("build")
        if build is None and name == "setup":
            build = self.services["coordinator"]["build"]
        if build is None:
            image = self.services[name]["image"].partition(":")[0]
            return Image(entrypoint=OTHERS.get(image, ["sh", "-euc", POSTGRES, "postgres"]))
        return Image.built(self.folder / build["context"] / build["dockerfile"], build.get("target"))

    def user(self, name: str) -> tuple[int, int]:
        """Return user and group of a service."""
        user, group = (self.services[name].get("user") or self.image(name).user).split(":")
        return int(user), int(group)

    def properties(self, name: str) -> list[str]:
        """Return how systemd is told what holds for the processes of a service."""
        service, image = self.services[name], self.image(name)
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        user, group = self.user(name)
        path = "/opt/reram-fleet/bin:/usr/bin:/bin"
        environment = {**image.environment, **service.get("environment", {}), "PATH": path, "HOME": "/nonexistent"}
        empty = ["/run", "/srv", "/var/lib", "/home", *service["tmpfs"]]
        return [
            *(f"User={user}", f"Group={group}", f"SupplementaryGroups={' '.join(service.get('group_add', []))}"),
            *("ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateDevices=yes"),
            f"CapabilityBoundingSet={' '.join(f'CAP_{cap}' for cap in service.get('cap_add', []))}",
            *(f"TemporaryFileSystem={each}" for each in empty),
            *(f"Environment={shlex.quote(f'{key}={value}')}" for key, value in environment.items()),
            *(self._mount(name, each) for each in service.get("volumes", [])),
            *(self._secret(each) for each in service.get("secrets", [])),
            *(["PrivateNetwork=yes"] if service.get("network_mode") == "none" else []),
        ]

    def _secret(self, name: str) -> str:
        return f"BindReadOnlyPaths={(self.folder / self.secrets[name]['file']).resolve()}:/run/secrets/{name}"

    def _mount(self, service: str, volume: str) -> str:
        source, inside, *mode = volume.split(":")
        if source.startswith("."):
            path = (self.folder / source).resolve()
            if not path.exists():
                path.mkdir()
        elif not (path := VOLUMES / source).exists():
            path.mkdir(parents=True)
            os.chown(path, *self.user(service))
        return f"Bind{'ReadOnly' if mode == ['ro'] else ''}Paths={path}:{inside}"

    def run(self, name: str, command: list[str], *options: str) -> int:
        """Start processes with what holds for a service."""
        properties = (f"--property={each}" for each in self.properties(name))
        return subprocess.run(["systemd-run", "--quiet", "--collect", *options, *properties, *command]).returncode

    def command(self, name: str, arguments: list[str]) -> list[str]:
        """Return the command line of a service, with other arguments than its own if there are any."""
        service = self.services[name]
        return [*service.get("entrypoint", self.image(name).entrypoint), *(arguments or service.get("command", []))]

    def up(self, name: str) -> None:
        """Start a service, after those that it waits for are healthy."""
        if subprocess.run(["systemctl", "is-active", "--quiet", f"compose-{name}"]).returncode == 0:
            return
        for other in self.services[name].get("depends_on", {}):
            self.up(other)
            self.wait_healthy(other)
        started = self.run(name, self.command(name, []), f"--unit=compose-{name}")
        assert started == 0, name

    def wait_healthy(self, name: str) -> None:
        """Run the health check of a service until it succeeds."""
        check = self.services[name].get("healthcheck", {}).get("test", [])[1:] or self.image(name).health
        for _ in range(60):
            if self.run(name, check, "--wait") == 0:
                return
            time.sleep(1)
        sys.exit(f"{name} is not healthy")


def main(arguments: list[str]) -> int:
    """Do what `docker compose ...` says, in the folder of the compose file."""
    assert arguments.pop(0) == "compose"
    files = []
    while arguments[0] == "--file":
        files.append(arguments[1])
        del arguments[:2]
    verb, compose = arguments.pop(0), Compose(Path.cwd(), files)
    words = [word for word in arguments if word not in ("--rm", "--no-deps", "-T", "--detach", "--wait")]
    if verb == "run":
        return compose.run(words[0], compose.command(words[0], words[1:]), "--wait", "--pipe")
    if verb == "exec":
        return compose.run(words[0], words[1:], "--wait", "--pipe")
    if verb == "up":
        names = words or [name for name, each in compose.services.items() if "profiles" not in each]
        for name in names:
            compose.up(name)
        for name in names if "--wait" in arguments else ():
            compose.wait_healthy(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
