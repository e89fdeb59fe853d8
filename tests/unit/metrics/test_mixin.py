"""Files that are made of the definitions, and what each definition must have."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from promql_parser import parse

from fleet.metrics.__main__ import generated
from fleet.metrics.alerts import all_alerts
from fleet.metrics.boards import ALL_BOARDS
from fleet.metrics.definitions import Unit, runbook_of
from fleet.metrics.prometheus_rules import DOCS
from fleet.metrics.recordings import RECORDINGS
from tests.deployment import DEPLOY
from tests.house import ROOT

RUNBOOKS = (ROOT / "docs/operations/runbooks.md").read_text(encoding="utf-8")
PANELS = [pytest.param(panel, id=f"{board.title}: {panel.title}") for board in ALL_BOARDS for panel in board.panels]


def test_committed_files_are_those_of_the_code():
    committed = {
        str(path.relative_to(DEPLOY)): path.read_text(encoding="utf-8")
        for folder in ("prometheus/rules", "grafana/dashboards")
        for path in (DEPLOY / folder).iterdir()
    }

    assert committed == generated(), "run `make mixin`"


def test_links_lead_to_where_the_documentation_is():
    address = "https://docs.example/fleet"
    moved = "".join(generated(address).values())

    assert moved.count(f"{address}/operations/runbooks.md#") > len(all_alerts())
    assert f'"{DOCS}/' not in moved


def test_each_alert_has_a_runbook_that_says_how_to_check_and_what_to_do():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS, flags=re.MULTILINE | re.DOTALL))

    assert list(sections) == [alert.name for alert in all_alerts()]
    for alert in all_alerts():
        assert sections[alert.name].startswith(f"\n*{alert.severity}.* ")
        assert "\nCheck:" in sections[alert.name]
        assert "\nDo:" in sections[alert.name]


@pytest.mark.parametrize("alert", all_alerts(), ids=lambda alert: alert.name)
def test_alert_says_what_to_do_first(alert):
    assert parse(alert.expr)
    assert len(alert.summary) <= 120
    assert "`" in alert.description or "page of" in alert.description
    # A label that an expression drops would be shown as nothing.
    for label in re.findall(r"\$labels\.(\w+)", alert.summary + alert.description):
        assert re.search(rf'by \(([^)]*, )?{label}\b|"{label}"', alert.expr)


def test_recordings_have_names_of_their_own():
    names = [rule.name for group in RECORDINGS.values() for rule in group]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+:fleet_?\w+:\w+|fleet:\w+:\w+", name) for name in names)
    assert all(parse(rule.expr) for group in RECORDINGS.values() for rule in group)


@pytest.mark.parametrize("panel", PANELS)
def test_panel_can_be_read_without_its_maker(panel):
    assert isinstance(panel.unit, Unit)
    assert panel.description.endswith(".")
    assert all(query.legend for query in panel.queries)
    assert all(parse(query.expr.replace("$node", "node-1")) for query in panel.queries)
    # Series of one panel are told apart.
    assert max(Counter(query.legend for query in panel.queries).values()) == 1
    assert {runbook_of(name) for name in panel.alerts} <= {runbook_of(alert.name) for alert in all_alerts()}


@pytest.mark.parametrize("board", ALL_BOARDS, ids=lambda board: board.uid)
def test_board_is_what_grafana_documents(board):
    page = json.loads(generated()[f"grafana/dashboards/{board.uid}.json"])
    panels = [panel for panel in page["panels"] if panel["type"] != "row"]
    cells = Counter(
        (x, y)
        for panel in page["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    )

    assert (page["uid"], page["title"], page["editable"]) == (board.uid, board.title, False)
    assert page["templating"]["list"][0]["name"] == "datasource"
    assert {each["name"] for each in page["templating"]["list"]} == {"datasource", board.variable} - {""}
    assert [panel["title"] for panel in panels] == [panel.title for panel in board.panels]
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    # Nothing overlaps, and nothing sticks out.
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
