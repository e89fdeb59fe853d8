"""docs/metrics.md, and what the exporters say."""

from __future__ import annotations

from tests.metrics_page import PAGE, exported, name_of, page


def test_the_page_is_what_the_code_exports():
    assert PAGE.read_text(encoding="utf-8") == page(), "make metrics-page"


def test_names_are_unique_and_follow_prometheus():
    families = [family for page in exported().values() for family in page]
    names = [name_of(family) for family in families]
    assert len(set(names)) == len(names) > 80
    for family in families:
        assert family.name.startswith(("fleet_", "edge_node_", "grpc_server_")), family.name
        if "joules" in family.name and family.type == "counter":
            assert "source" in family._labelnames, family.name
