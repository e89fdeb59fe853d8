"""Commands of the how-tos in `docs/operations`."""

from __future__ import annotations

import re

from tests.house import ROOT

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str, prompt: str = "$") -> list[str]:
    """Return what is typed after a prompt in the console blocks of a page, in its order."""
    text = (ROOT / "docs/operations" / page).read_text(encoding="utf-8")
    lines = (line for block in _BLOCK.findall(text) for line in block.splitlines())
    return [line.removeprefix(f"{prompt} ") for line in lines if line.startswith(f"{prompt} ")]
