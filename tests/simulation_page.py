"""`python -m tests.simulation_page`: write the JSON schema of scenarios, and the reference of docs/simulation.md."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.sim.schema import reference, schema_text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "simulation.md"
SCHEMA = ROOT / "docs" / "scenario.schema.json"
_REFERENCE = "## Reference of scenarios\n"


def page() -> str:
    """Return docs/simulation.md with the reference that the code has."""
    tutorial, _, _ = PAGE.read_text(encoding="utf-8").partition(_REFERENCE)
    return f"{tutorial}{_REFERENCE}\n{reference()}"


def main() -> int:
    """Write both."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
