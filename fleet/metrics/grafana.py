"""Boards as Grafana reads them: JSON that is provisioned, and never changed in the browser.

No Grafana was at hand to draw them: schema and queries are tested, the look of the page is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from grafana_foundation_sdk.builders import bargauge, stat, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from fleet.metrics.definitions import Board, Form, Panel, Query, runbook_of

#: Columns of Grafana's grid, and panels beside each other.
_COLUMNS, _BESIDE = 24, {Form.STAT: 4}
_HEIGHTS = {Form.STAT: 4}
_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

_AnyPanel: TypeAlias = timeseries.Panel | stat.Panel | bargauge.Panel


def grafana_json(board: Board, docs: str) -> str:
    """Return a board as JSON; equal boards give equal text. `docs` is where the documentation is, for links."""
    page = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["reram-fleet"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
        .link(
            builders.DashboardLink("Other boards of the fleet")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["reram-fleet"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    if board.variable:
        page.with_variable(
            builders.QueryVariable(board.variable)
            .label(board.variable.capitalize())
            .datasource(_SOURCE)
            .query(f"label_values(fleet_node_connected, {board.variable})")
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        )
    number = 0
    for row in board.rows:
        number += 1
        page.with_row(builders.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            page.with_panel(_panel(panel, docs).id(number))
    return JSONEncoder(sort_keys=True, indent=2).encode(page.build()) + "\n"


def _panel(panel: Panel, docs: str) -> _AnyPanel:
    make: Mapping[Form, Callable[[Panel], _AnyPanel]] = {Form.STAT: _stat, Form.TABLE: _table}
    made = make.get(panel.form, _lines)(panel)
    made.title(panel.title).description(panel.description).datasource(_SOURCE).unit(panel.unit)
    made.height(_HEIGHTS.get(panel.form, 8)).span(_COLUMNS // _BESIDE.get(panel.form, 3))
    for place, query in enumerate(panel.queries):
        made.with_target(_target(query, _ref_id(place), now=panel.form in (Form.STAT, Form.TABLE)))
    if panel.alerts:
        made.links(
            [
                builders.DashboardLink(f"Runbook: {alert}")
                .type(dashboard.DashboardLinkType.LINK)
                .url(f"{docs}/{runbook_of(alert)}")
                .target_blank(True)
                for alert in panel.alerts
            ]
        )
    return made


def _ref_id(place: int) -> str:
    return chr(ord("A") + place)


def _setting(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(f"custom.{name}", value)


def _target(query: Query, ref_id: str, *, now: bool) -> prometheus_builders.Dataquery:
    made = prometheus_builders.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref_id)
    return made.instant() if now else made.range()


def _lines(panel: Panel) -> timeseries.Panel:
    legend = (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    made = timeseries.Panel().legend(legend).line_width(1)
    if panel.log:
        made.scale_distribution(common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    for place, query in enumerate(panel.queries):
        if query.reference:
            made.override_by_query(_ref_id(place), [_setting("lineStyle", {"fill": "dash", "dash": [10, 10]})])
    if panel.band:
        low, high = panel.band
        made.override_by_name(high, [_setting("fillBelowTo", low), _setting("fillOpacity", 15)])
    if panel.form is Form.STACK:
        made.fill_opacity(30).stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    return made


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME if panel.named else common.BigValueTextMode.AUTO)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _table(panel: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
