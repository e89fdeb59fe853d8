from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fleet.cli import app
from fleet.registry import Registry
from tests.tls import local_tls
from tests.unit.cli.small_operator import TOKEN, SmallOperator, small_operator


@dataclass(frozen=True)
class Cli:
    """`fleet` against a small real coordinator, with a registry of its own."""

    operator: SmallOperator
    address: str
    folder: Path

    @property
    def registry(self) -> Registry:
        return Registry(self.folder / "registry.json")

    def enrol(self, person: str) -> str:
        """Enrol a person whom the fleet has heard of."""
        tag = self.registry.enrol(person)
        self.operator.known_tags.add(tag)
        return tag

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        settings = {
            "FLEET_CONFIG": str(self.folder / "config.toml"),
            "FLEET_ADDRESS": self.address,
            "FLEET_CA": str(self.folder / "ca.pem"),
            "FLEET_TOKEN_FILE": str(self.folder / "operator.token"),
            "FLEET_REGISTRY": str(self.registry.path),
            **environment,
        }
        return CliRunner().invoke(app, list(arguments), env=settings, input=stdin)

    def json(self, *arguments: str) -> dict[str, Any]:
        result = self.run(*arguments, "-o", "json")
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document


@pytest.fixture
def cli(tmp_path: Path):
    (tmp_path / "operator.token").write_text(f"{TOKEN}\n")
    local_tls().ca_file(tmp_path)
    with small_operator() as (service, address):
        yield Cli(service, address, tmp_path)
