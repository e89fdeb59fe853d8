"""`python -m fleet.metrics`: write the rules and boards of `deploy/` anew."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet.metrics.boards import BOARDS
from fleet.metrics.grafana import grafana_json
from fleet.metrics.prometheus_rules import alerts_yaml, recordings_yaml

#: Where the documentation is, unless its address is given: the folder in the repository.
DOCS = "docs"


def generated(docs: str = DOCS) -> Mapping[str, str]:
    """Return the text of each file, by its path in `deploy/`."""
    return {
        "prometheus/rules/recordings.yml": recordings_yaml(),
        "prometheus/rules/alerts.yml": alerts_yaml(docs),
        **{f"grafana/dashboards/{board.uid}.json": grafana_json(board, docs) for board in BOARDS},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every file."""
    parser = argparse.ArgumentParser(prog="python -m fleet.metrics", description=__doc__)
    parser.add_argument("--deploy", type=Path, default=Path("deploy"), help="folder to write to")
    parser.add_argument("--docs", default=DOCS, help="address of this project's docs/, for links to runbooks")
    options = parser.parse_args(arguments)
    for name, text in generated(options.docs.rstrip("/")).items():
        path = options.deploy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
