"""Rules of the command line that `fleet` and `edge-node` share: options, versions, extras, safe text."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import typer

DISTRIBUTION = "reram-fleet"

#: Packages that only an extra of the project installs.
EXTRA_MODULES = frozenset(
    [
        *("PIL", "alembic", "cloudpickle", "flwr", "httpx", "matplotlib", "numpy", "prometheus_client", "pyarrow"),
        *("safetensors", "scipy", "sklearn", "sktime", "sqlalchemy", "starlette", "tomli_w", "torch", "uvicorn"),
    ]
)


class FiniteRange(click.FloatRange):
    """A number within bounds; NaN, which is within any, and infinity are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def folder(text: str | Path) -> Path:
    """Return an option's folder; an empty text, as an unset variable gives it, is not the current one."""
    if not str(text):
        raise typer.BadParameter("an empty path names no folder.")
    return Path(text)


def version_option(program: str) -> Callable[[bool], None]:
    """Return the callback of `--version`."""

    def show(asked: bool) -> None:
        if asked:
            typer.echo(f"{program} {version(DISTRIBUTION)}")
            raise typer.Exit

    return show


def require(modules: Iterable[str]) -> None:
    """Raise what an import would raise if one of these is not installed; none of them is imported."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Return the package whose absence the error is about, if an extra installs it; else None: a defect."""
    package = (error.name or "").partition(".")[0]
    return package if package in EXTRA_MODULES else None


def install_hint(extra: str) -> str:
    """Return how to install an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def printable(text: str, *, keep: str = "\n\t") -> str:
    """Return a text that cannot steer a terminal: control and direction characters become escapes."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)
