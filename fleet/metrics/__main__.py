"""`python -m fleet.metrics`: write the rules and boards of `deploy/` anew."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fleet.metrics.boards import ALL_BOARDS
from fleet.metrics.grafana import grafana_json
from fleet.metrics.prometheus_rules import DOCS, alerts, recordings

#: Longer strings have lines of their own.
_FOLDED = 80
_NOTE = "# Written by `make mixin` from fleet/metrics: change it there.\n"


def generated(docs: str = DOCS) -> Mapping[str, str]:
    """Return the text of each file, by its path in `deploy/`."""
    return {
        "prometheus/rules/recordings.yml": _yaml(recordings()),
        "prometheus/rules/alerts.yml": _yaml(alerts(docs)),
        **{f"grafana/dashboards/{board.uid}.json": grafana_json(board, docs) for board in ALL_BOARDS},
    }


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Tidy, sort_keys=False, width=72, allow_unicode=True)
    return _NOTE + text


class _Tidy(yaml.SafeDumper):
    """Dumper that indents lists below their key, and folds long lines."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent, also within lists."""
        super().increase_indent(flow, False)

    def text(self, value: str) -> yaml.ScalarNode:
        """Return a string, folded if it fills a line."""
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=">" if len(value) > _FOLDED else None)


_Tidy.add_representer(str, _Tidy.text)


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
