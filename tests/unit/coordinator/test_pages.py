"""Lists of a coordinator, page by page, and the summary of a forget."""

from __future__ import annotations

import pytest
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.errors import InvalidInputError, NotFoundError
from tests.device import Device
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM


@pytest.fixture
def pages(coordinator):
    """Return what a list answers to a request, by the list's name."""

    def ask(name, **request):
        request = {"executions": wire.ListExecutionsRequest, "nodes": wire.ListNodesRequest}.get(
            name, wire.ListForgetsRequest
        )(**request)
        with coordinator.transaction() as unit:
            return getattr(unit.pages, name)(request)

    return ask


def summary(coordinator, campaign):
    with coordinator.transaction() as unit:
        return unit.views.forget(unit.tx.forgets.get(campaign.campaign_id))


def test_nodes_come_by_id_until_the_last_page(pages, coordinator, nodes):
    first = pages("nodes", page_size=1)
    assert ([node.node_id for node in first.nodes], first.next_page_token) == (["node-1"], "node-1")
    assert first.nodes[0].connected
    rest = pages("nodes", page_token="node-1")
    assert ([node.node_id for node in rest.nodes], rest.next_page_token) == (["node-2"], "")


def test_forgets_come_newest_first(pages, coordinator, nodes):
    for number, tag in enumerate((ANN, BOB, CEM)):
        coordinator.forget(f"r{number}", tag)
    first = pages("forgets", page_size=2)
    assert ([forget.generation for forget in first.forgets], first.next_page_token) == ([3, 2], "2")
    rest = pages("forgets", page_size=2, page_token="2")
    assert ([forget.generation for forget in rest.forgets], rest.next_page_token) == ([1], "")


def test_executions_of_a_forget_come_with_receipts_by_node(pages, coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    first = pages("executions", campaign_id=campaign.campaign_id, page_size=1)
    assert [(each.node_id, bool(each.receipt.payload)) for each in first.executions] == [("node-1", True)]
    rest = pages("executions", campaign_id=campaign.campaign_id, page_token=first.next_page_token)
    assert ([each.node_id for each in rest.executions], rest.next_page_token) == (["node-2"], "")


def test_executions_of_a_node_come_newest_forget_first(pages, coordinator, nodes):
    for number, tag in enumerate((ANN, BOB, CEM)):
        coordinator.forget(f"r{number}", tag)
    first = pages("executions", node_id="node-2", page_size=2)
    assert [each.generation for each in first.executions] == [3, 2]
    rest = pages("executions", node_id="node-2", page_size=2, page_token=first.next_page_token)
    assert ([each.generation for each in rest.executions], rest.next_page_token) == ([1], "")


def test_executions_are_chosen_by_state_and_by_both_ids(pages, coordinator, nodes):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(nodes[0])
    mine = {"campaign_id": campaign.campaign_id}
    assert [each.node_id for each in pages("executions", **mine, states=["pending", "held"]).executions] == ["node-2"]
    assert [each.state for each in pages("executions", **mine, node_id="node-1").executions] == ["verified"]
    assert not pages("executions", **mine, node_id="node-1", states=["pending"]).executions


def test_a_page_of_long_receipts_is_short(pages, coordinator, nodes, monkeypatch):
    monkeypatch.setattr("fleet.coordinator.pages.PAGE_BYTES", 1)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    found, token = [], ""
    while page := pages("executions", campaign_id=campaign.campaign_id, page_token=token):
        found.append([each.node_id for each in page.executions])
        token = page.next_page_token
        if not token:
            break
    assert found == [["node-1"], ["node-2"]]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, InvalidInputError),
        ({"node_id": "node-1", "page_token": "node-1"}, InvalidInputError),
        ({"node_id": "node-1", "states": ["asleep"]}, InvalidInputError),
        ({"node_id": "node-9"}, NotFoundError),
        ({"campaign_id": "0" * 26}, NotFoundError),
    ],
)
def test_what_cannot_be_listed_is_refused(pages, coordinator, nodes, request_, error):
    with pytest.raises(error):
        pages("executions", **request_)


def test_summary_counts_nodes_and_names_a_few_of_each_state(coordinator, nodes):
    late = [Device(f"late-{number}") for number in range(7)]
    for node in late:
        coordinator.enroll(node)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    found = summary(coordinator, campaign)
    assert {count.state: count.nodes for count in found.counts} == {"pending": 7, "verified": 2}
    assert [(each.node_id, each.state) for each in found.examples] == [(f"late-{n}", "pending") for n in range(5)]


def test_summary_of_a_converged_forget_adds_up_what_its_receipts_cost(coordinator, nodes, pages):
    campaign, _ = coordinator.forget("r1", ANN)
    assert not summary(coordinator, campaign).costs
    coordinator.converse(*nodes)
    receipts = [
        types.Receipt.FromString(each.receipt.payload)
        for each in pages("executions", campaign_id=campaign.campaign_id).executions
    ]
    spent = {}
    for cost in (cost for receipt in receipts for cost in receipt.costs):
        spent[cost.phase] = spent.get(cost.phase, 0.0) + cost.energy_j
    found = summary(coordinator, campaign)
    assert {cost.phase: cost.energy_j for cost in found.costs} == pytest.approx(spent)
    assert spent
    assert found.energy_model == receipts[0].energy_model
