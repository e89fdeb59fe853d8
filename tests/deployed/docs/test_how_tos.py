"""How-tos of `docs/operations`: what they say is typed into a real fleet, and what they say is printed is printed.

Another page is a line in `PAGES`: its file, and what makes the situation that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.deployed.docs.conftest import Guest, HowTos
from tests.deployed.docs.console import Command, commands_of
from tests.deployment import checker
from tests.house import ROOT

FOLDER = ROOT / "docs" / "operations"


def a_held_node(how_tos: HowTos) -> Iterator[None]:
    """Let node-4 say, once, that it held less than it did."""
    node = Guest(how_tos.fleet, "node-4")
    tag = how_tos.enrol("ann", node)
    node.amend = lambda receipt: setattr(receipt, "subject_adapters_erased", 0)
    how_tos.forget(tag)
    how_tos.seen("node-4 is held", lambda client: client.get_node("node-4").node.held_reason)
    node.amend = lambda receipt: None
    yield
    node.go_away()


def a_lost_node(how_tos: HowTos) -> Iterator[None]:
    """Let node-3 go away before a forget."""
    node = Guest(how_tos.fleet, "node-3")
    tag = how_tos.enrol("ben", node)
    node.go_away()
    how_tos.seen("node-3 is gone", lambda client: not client.get_node("node-3").node.connected)
    how_tos.forget(tag)
    yield


def a_node_in_a_drawer(how_tos: HowTos) -> Iterator[None]:
    """Let node-5 go away, and somebody be forgotten after the backup."""
    node = Guest(how_tos.fleet, "node-5")
    tag = how_tos.enrol("cem", node)
    node.go_away()
    how_tos.console.after["fleet admin backup"] = lambda: how_tos.forget(tag)
    yield


def servers_that_wait_for_certificates(how_tos: HowTos) -> Iterator[None]:
    """Change nothing: the page makes an authority of its own."""
    yield


def a_machine_with_prometheus(how_tos: HowTos) -> Iterator[None]:
    """Have its programs."""
    checker("promtool")
    how_tos.seen("both nodes serve", lambda client: client.get_fleet().nodes_serving == 2)
    yield


def a_fleet_that_is_scraped(how_tos: HowTos) -> Iterator[None]:
    """Go on where the page about scraping has ended."""
    checker("promtool")
    assert how_tos.prometheus is not None, "scrape.md starts it"
    yield


#: In this order: an alert needs a fleet that is scraped, a restore needs a generation before it.
PAGES: dict[str, Callable[[HowTos], Iterator[None]]] = {
    "scrape.md": a_machine_with_prometheus,
    "add-alert.md": a_fleet_that_is_scraped,
    "held-node.md": a_held_node,
    "lost-node.md": a_lost_node,
    "restore.md": a_node_in_a_drawer,
    "tls.md": servers_that_wait_for_certificates,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_how_to_works_as_it_says(how_tos, page):
    situation = PAGES[page](how_tos)
    next(situation)
    how_tos.console.follow((FOLDER / page).read_text(encoding="utf-8"))
    next(situation, None)


def test_a_page_that_says_what_is_not_printed_is_refused():
    (command,) = commands_of("```console\n$ fleet status   # looks\nnodes  2 of ...\n│ node-1 │ serving │\n```\n")
    assert command == Command("fleet status", ("nodes  2 of ...", "│ node-1 │ serving │"))
    printed = "Fleet\nnodes         2 of 3\n┃ node ┃\n│ node-1 │   serving │\n"
    assert command.missing(printed) is None
    assert command.missing(printed.replace("2 of", "1 of")) == "nodes  2 of ..."
    assert command.missing(printed.replace("serving", "held")) == "│ node-1 │ serving │"
    # In another order than it says.
    assert command.missing("".join(reversed(printed.splitlines(keepends=True)))) == "│ node-1 │ serving │"
