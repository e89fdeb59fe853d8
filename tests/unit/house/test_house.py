"""The house that ARCHITECTURE.md draws: rooms, arrows, sizes, and what a device does not carry."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
from collections.abc import Iterator
from functools import cache

import grimp
import pytest

from tests.house import ROOT, source_files

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")

ROOMS = {
    "hwmodel": {"device", "crossbar", "nn", "cost", "networks", "presets"},
    "edge_node": {"agent", "storage", "recognition", "generation", "backbones", "tasks", "testing"},
    "fleet": {
        "domain",
        "store",
        "trust",
        "heads",
        "coordinator",
        "learning",
        "lab",
        "report",
        "sim",
        "cli",
        "local",
        "doctor",
        "metrics",
    },
    "proto/reram_fleet": {"crypto", "processes", "v1", "wire"},
}
MODULES_AT_TOP = 5
LINES = 400
#: Longer for a reason: tables that are read as a whole, and the node, in which all of the protocol meets.
LONGER = {"fleet/store/schema.py", "edge_node/agent/node.py"}
RIDDLES = ("What", "Who", "How", "Where", "When", "Why", "Which", "Whether", "Whom")


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("fleet", "edge_node", "hwmodel", "reram_fleet", cache_dir=None)


def named_things() -> Iterator[tuple[str, str]]:
    """Yield where each module and class stands, and the first line of its docstring."""
    for path in source_files():
        module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for thing in (module, *(node for node in ast.walk(module) if isinstance(node, ast.ClassDef))):
            text = ast.get_docstring(thing)
            if text:
                yield f"{path}:{getattr(thing, 'lineno', 1)}", text.splitlines()[0]


def room_of(module: str) -> str | None:
    """Return the room of a module as the picture names it; None for the contract and modules at the top."""
    top, *rest = module.split(".")
    if top == "hwmodel":
        return top
    return rest[0] if rest and rest[0] in ROOMS.get(top, ()) else None


def drawn_arrows() -> set[tuple[str, str]]:
    """Return the arrows of the picture: `a & b --> c & d` are four."""
    picture = PAGE.partition("```mermaid")[2].partition("```")[0]
    sides = [line.split("-->") for line in picture.splitlines() if "-->" in line]
    return {(a.strip(), b.strip()) for left, right in sides for a in left.split("&") for b in right.split("&")}


@pytest.mark.parametrize("top", ROOMS)
def test_at_the_top_are_only_the_rooms_of_the_plan_and_few_modules(top):
    rooms = {path.parent.name for path in (ROOT / top).glob("*/__init__.py")}
    modules = [path.name for path in (ROOT / top).glob("*.py") if path.name != "__init__.py"]

    assert rooms == ROOMS[top]
    assert len(modules) <= MODULES_AT_TOP, sorted(modules)


def test_no_file_is_longer_than_a_comfortable_room():
    tests = subprocess.run(["git", "ls-files", "tests/*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {*source_files(), *tests.stdout.split()} - LONGER
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in files}

    assert {path: count for path, count in lines.items() if count > LINES} == {}


def test_imports_run_in_no_circle():
    edges = {name: graph().find_modules_directly_imported_by(name) for name in graph().modules}
    # Whoever imports nothing that is left, or is imported by nothing that is left, is in no circle.
    outside = {""}
    while outside:
        imported = set().union(*edges.values())
        outside = {name for name, names in edges.items() if name not in imported or not names & edges.keys()}
        edges = {name: names - outside for name, names in edges.items() if name not in outside}

    assert sorted(edges) == []


def test_a_device_carries_only_what_it_runs():
    entries = {point.module for point in importlib.metadata.entry_points(group="reram_fleet.tasks")}
    entries = {name for name in entries if name.startswith("edge_node.")}
    assert entries, "no task of ours is installed"
    # The last is what a task that `fleet task new` writes is made of.
    reached, waiting = set(), ["edge_node.cli", "edge_node.agent.client_app", *entries, "edge_node.tasks.model_task"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph().find_modules_directly_imported_by(name)
    carried = {name for name in graph().modules if name.startswith("edge_node") and not graph().find_children(name)}

    # Doubles for those who build on a node.
    assert {name.removesuffix(name.split(".")[-1]) for name in carried - reached} == {"edge_node.testing."}


def test_modules_and_classes_say_what_they_are_and_ask_no_riddles():
    riddles = {where: line for where, line in named_things() if line.split(maxsplit=1)[0].rstrip(":,") in RIDDLES}

    assert riddles == {}


def test_the_picture_has_the_arrows_of_the_code_and_no_others():
    imports = {(room_of(a), room_of(b)) for a in graph().modules for b in graph().find_modules_directly_imported_by(a)}

    assert drawn_arrows() == {(a, b) for a, b in imports if a and b and a != b}


def test_pages_and_docstrings_name_files_that_are_there():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pages = {path for path in listed if path.endswith((".md", ".proto")) and path != "CHANGELOG.md"}
    # The chip model cites files of other projects.
    ours = {*pages, *(path for path in source_files() if not path.startswith("hwmodel/"))}
    named = {
        (path, name)
        for path in ours
        for name in re.findall(r"`([\w/]+\.py)`", (ROOT / path).read_text(encoding="utf-8"))
    }

    assert len(named) > 60
    assert [each for each in named if not any(f"/{path}".endswith(f"/{each[1]}") for path in listed)] == []


def test_prose_wraps_at_120_columns():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    wide = []
    for path in listed.stdout.split():
        # Lines of a program and of a picture's text cannot be wrapped; a table that is too wide is better a list.
        text = re.sub(r"^```.*?^```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        wide += [f"{path}: {line}" for line in text.splitlines() if len(line) > 120 and not line.startswith("![")]

    assert wide == []
