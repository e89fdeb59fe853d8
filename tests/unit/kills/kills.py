"""Death of a process at a durable step: doubles of store, journal, keys and files that end it before or after."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
from reram_fleet.crypto.key_store import MemoryKeyStore
from sqlalchemy import URL

from edge_node.storage.journal import Journal
from fleet.store.database import Store, Transaction
from tests.unit.kills.durable_steps import Site, site_at

COORDINATOR = "coordinator"


class Side(StrEnum):
    """Moment at which a process dies."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class Step:
    """One durable step as it happened: the n-th of its run, on one of its sides."""

    number: int
    site: Site
    side: Side


class Killed(BaseException):
    """A process has died: nothing of it is left but what is durable."""

    def __init__(self, who: str, step: Step) -> None:
        super().__init__(f"{who} is killed {step.side} step {step.number}: {step.site}")
        self.who = who


@dataclass
class Kills:
    """Who is killed where: `due` says so of each step, with its number and side."""

    due: Callable[[Step], bool] = lambda step: False
    #: How often each place has taken a step.
    walked: Counter[Site] = field(default_factory=Counter)
    killed: list[Step] = field(default_factory=list)
    number: int = 0
    #: Engines of the databases that were opened, and what goes with them.
    opened: dict[URL, tuple[Any, ...]] = field(default_factory=dict)
    #: Whether what is done now is done by the test, and not by a process.
    asleep: bool = False

    def before(self, who: str, site: Site | None = None) -> Step | None:
        """Return the step that is about to become durable, unless the process dies; None if it is the test's."""
        if self.asleep:
            return None
        site = site or site_here()
        self.number += 1
        self.walked[site] += 1
        self._die(who, Step(self.number, site, Side.BEFORE))
        return Step(self.number, site, Side.AFTER)

    def after(self, who: str, step: Step | None) -> None:
        """Let the process die now that a step is durable, before anybody hears of it."""
        if step is not None:
            self._die(who, step)

    def _die(self, who: str, step: Step) -> None:
        if self.due(step):
            self.killed.append(step)
            raise Killed(who, step)

    # The doubles

    def store(self, url: str, now_ms: Callable[[], int]) -> Store:
        """Open the coordinator's database."""
        kills = self

        class KilledStore(Store):
            def __init__(self, url: URL, now_ms: Callable[[], int]) -> None:
                super().__init__(url, now_ms)
                # With a new engine, every statement is compiled anew: a quarter of all the time.
                parts = self._engine, self._readers, self._commits
                self._first = url not in kills.opened
                self._engine, self._readers, self._commits = kills.opened.setdefault(url, parts)

            def _migrate(self) -> None:
                if self._first:
                    super()._migrate()

            @contextmanager
            def transaction(self) -> Iterator[Transaction]:
                step = None
                with super().transaction() as tx:
                    yield tx
                    if tx.writes:
                        try:
                            step = kills.before(COORDINATOR)
                        except Killed:
                            # Nobody is there to roll back: the connection is gone.
                            tx._scope.connection.invalidate()
                            raise
                kills.after(COORDINATOR, step)

        return KilledStore.open(url, now_ms=now_ms)

    def journal(self, node_id: str, content: bytes) -> Journal:
        """Open a node's journal."""
        kills = self

        class KilledJournal(Journal):
            @contextmanager
            def transaction(self) -> Iterator[None]:
                step, changes = None, self._connection.total_changes
                with super().transaction():
                    yield
                    if self._connection.total_changes != changes:
                        step = kills.before(node_id)
                kills.after(node_id, step)

        return KilledJournal.in_memory(node_id, content)

    def keys(self, who: str) -> MemoryKeyStore:
        """Return an empty store of keys, which outlives its process."""
        kills = self

        class KilledKeys(MemoryKeyStore):
            def create(self, key_id: str) -> bytes:
                step = kills.before(who)
                key = super().create(key_id)
                kills.after(who, step)
                return key

            def destroy(self, key_id: str) -> bool:
                if not self.exists(key_id):
                    return False
                step = kills.before(who)
                super().destroy(key_id)
                kills.after(who, step)
                return True

            def copy(self) -> MemoryKeyStore:
                return self

        return KilledKeys()

    def files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let files of the coordinator be steps as well, when they are put in their place."""
        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, self._putting(getattr(os, name)))

    def _putting(self, put: Callable[..., None]) -> Callable[..., None]:
        def killed(*arguments: object, **options: object) -> None:
            site = site_here(needed=False)
            step = None if site is None else self.before(COORDINATOR, site)
            put(*arguments, **options)
            self.after(COORDINATOR, step)

        return killed


def site_here(*, needed: bool = True) -> Site | None:
    """Return the place in the code that takes a durable step now."""
    frame = sys._getframe()
    while (frame := frame.f_back) is not None:
        if (site := site_at(frame.f_code.co_filename, frame.f_lineno)) is not None:
            return site
    assert not needed, (
        "a durable step is taken where the code seems to have none: teach `durable_steps` how it is written"
    )
    return None
