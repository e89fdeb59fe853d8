"""Durable steps of coordinator and node, as their code has them: where a process may be killed.

A step is a transaction that is committed, or a file of keys that is made or destroyed. They are found by how they are
written, and not listed: who adds one that no test walks through has a failing test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from tests.house import ROOT

#: Where there are such steps.
ROOMS = ("fleet/coordinator", "fleet/store", "fleet/trust", "edge_node")
#: Calls of `Coordinator` and its services that take work for a transaction, and those that only read.
TRANSACTIONS, READS = {"run", "_run", "_change"}, {"read", "_read", "read_now"}
#: Calls of a `KeyStore`; `create` is one only of what is named so.
KEY_STORE, KEY_STORES = {"get_or_create", "destroy"}, ("secrets", "_keys", "keys")
#: Files that are there whole or not at all.
FILES = {"write_atomically", "write_folder_atomically", "create_private"}

#: Steps at which nobody is killed here, and why not.
ELSEWHERE = {
    "fleet/coordinator/backup.py": "writes a copy beside the fleet, which is not there before it is whole",
    "fleet/coordinator/restore.py": "an operator repeats it: tests/unit/coordinator/test_backup_and_restore.py",
    "fleet/coordinator/database.py": "passes on the work of others",
    "fleet/coordinator/testing": "passes on the work of tests",
    "fleet/coordinator/serve.py _write_serve_file": "written anew at every start",
    "fleet/coordinator/tls.py publish_ca": "written anew at every start",
    "fleet/trust/tls.py": "made anew if it is not whole: tests/unit/coordinator/test_tls_of_a_coordinator.py",
    "edge_node/agent/daemon.py": "before the node is made, and the same at every start",
    "edge_node/config.py": "the folder that `edge-node init` and `join` make: tests/unit/node/test_node_folder.py",
    "edge_node/storage/keys.py": "one folder, whole or not at all, before there is a node: the same file",
    "edge_node/generation": "a cache of what can be learnt again",
}
#: Transactions that write nothing of their own; they wait for the writer, since keys are made by others.
WRITE_NOTHING = {
    "fleet/coordinator/core.py Coordinator.destroy_orphaned_keys",
    "fleet/coordinator/learning_service.py LearningService.GetJob",
}


@dataclass(frozen=True, order=True)
class Site:
    """Place in the code from which a durable step is taken."""

    path: str
    line: int
    name: str
    last_line: int = field(compare=False)

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.name}"

    @property
    def key(self) -> str:
        """Return its name without the line."""
        return f"{self.path} {self.name}"


class Finder(ast.NodeVisitor):
    """Finds the durable steps of a module, and work that it cannot tell of whether it writes."""

    def __init__(self, path: str) -> None:
        self._path, self._scopes = path, list[tuple[str, set[str], dict[str, ast.AST]]]()
        self.sites: list[Site] = []
        self.works: dict[int, str] = {}
        self.passed: set[int] = set()

    @property
    def _name(self) -> str:
        return ".".join(name for name, _, _ in self._scopes)

    def unclear(self) -> list[str]:
        """Return work that is passed to nobody who says whether it writes."""
        return [f"{self._path}:{line} {name}" for line, name in self.works.items() if line not in self.passed]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._within(node.name, set(), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        parameters = [each.arg for each in node.args.args]
        if parameters[:1] == ["unit"]:
            self.works[node.lineno] = self._name
            if self._scopes:
                self._scopes[-1][2][node.name] = node
        self._within(node.name, set(parameters), node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        if _parameters(node)[:1] == ["unit"]:
            self.works[node.lineno] = self._name
        self.generic_visit(node)

    def _within(self, name: str, parameters: set[str], node: ast.AST) -> None:
        self._scopes.append((name, parameters, {}))
        self.generic_visit(node)
        self._scopes.pop()

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        receiver = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        for work in map(self._work, node.args) if called in TRANSACTIONS | READS else ():
            if work is not None:
                self.passed.add(work.lineno)
                if called in TRANSACTIONS:
                    self._add(node)
        of_keys = (called in KEY_STORE and receiver) or (called == "create" and receiver.endswith(KEY_STORES))
        if of_keys or called in FILES or (called == "transaction" and not node.args):
            self._add(node)
        self.generic_visit(node)

    def _work(self, argument: ast.expr) -> ast.Lambda | ast.FunctionDef | None:
        """Return the work that is passed, unless it only passes on another's."""
        if isinstance(argument, ast.Lambda) and _parameters(argument)[:1] in (["unit"], ["tx"]):
            calls = [each.func for each in ast.walk(argument.body) if isinstance(each, ast.Call)]
            given = {name for _, parameters, _ in self._scopes for name in parameters}
            return None if any(isinstance(call, ast.Name) and call.id in given for call in calls) else argument
        if isinstance(argument, ast.Name):
            for _, _, functions in reversed(self._scopes):
                if argument.id in functions:
                    return functions[argument.id]  # type: ignore[return-value]
        return None

    def _add(self, node: ast.Call) -> None:
        self.sites.append(Site(self._path, node.lineno, self._name, node.end_lineno or node.lineno))


def _parameters(node: ast.Lambda) -> list[str]:
    return [each.arg for each in node.args.args]


def found_in(path: str, source: str) -> Finder:
    """Return what is found in a module."""
    finder = Finder(path)
    finder.visit(ast.parse(source))
    return finder


def _found() -> Iterator[Finder]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield found_in(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))


@cache
def all_sites() -> frozenset[Site]:
    """Return every durable step in the code."""
    return frozenset(site for finder in _found() for site in finder.sites)


def unclear_works() -> list[str]:
    """Return functions of a unit of work that are passed to nobody who says whether they write."""
    return [work for finder in _found() for work in finder.unclear()]


def is_elsewhere(site: Site) -> bool:
    """Whether nobody is killed there, for a reason."""
    return any(site.key.startswith(place) for place in ELSEWHERE)


def writes_nothing(site: Site) -> bool:
    """Whether its transaction only reads."""
    return any(site.key.startswith(place) for place in WRITE_NOTHING)


@cache
def _by_path() -> dict[str, list[Site]]:
    found: dict[str, list[Site]] = {}
    for site in all_sites():
        if is_elsewhere(site):
            continue
        found.setdefault(str(ROOT / site.path), []).append(site)
    return found


def site_at(path: str, line: int) -> Site | None:
    """Return the step that is taken at a line of a file."""
    here = [site for site in _by_path().get(path, ()) if site.line <= line <= site.last_line]
    return min(here, key=lambda site: site.last_line - site.line, default=None)
