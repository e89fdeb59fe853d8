"""TOML files of one kind: those that come with `hwmodel`, and a user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from hwmodel.errors import HwModelError


@dataclass(frozen=True, slots=True)
class TomlFiles:
    """Reader of files by name, a `Path`, or a string that ends in ``.toml``; raises `error` where that fails."""

    kind: str  #: ``"preset"``: what messages call it; its folder has the plural
    error: type[HwModelError]

    def names(self) -> tuple[str, ...]:
        """Return the names of the files that come with `hwmodel`."""
        folder = resources.files("hwmodel") / f"{self.kind}s"
        return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))

    def text(self, name_or_path: str | Path) -> str:
        """Return a file as it is."""
        if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
            try:
                return Path(name_or_path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise self.error(f"cannot read {self.kind} {name_or_path}: {reason}") from error
        if name_or_path not in self.names():
            raise self.error(
                f"no {self.kind} {name_or_path!r}; there are: {', '.join(self.names())}. "
                "For your own, give the path of a .toml file"
            )
        return (resources.files("hwmodel") / f"{self.kind}s" / f"{name_or_path}.toml").read_text(encoding="utf-8")

    def content(self, name_or_path: str | Path) -> dict[str, Any]:
        """Return a file as TOML."""
        try:
            return tomllib.loads(self.text(name_or_path))
        except tomllib.TOMLDecodeError as error:
            raise self.error(f"{self.kind} {name_or_path} is not TOML: {error}") from error
