"""Store of a simulated coordinator: what arrives at one moment shares a commit, as in the one that is served."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet.coordinator.database import Asked, Database, Outcome
from fleet.store.database import Store

T = TypeVar("T")

#: Commits that a coroutine waits for in turn: one that wants more never ends, and its simulation would neither.
MOST_TURNS = 1000


@dataclass(frozen=True)
class _Parked(Asked):
    """Work whose coroutine waits for it."""

    def __await__(self) -> Generator[_Parked, Any, Any]:
        return (yield self)


class GatheringDatabase(Database):
    """The store in the calling thread, for coroutines that run together: `together`. Alone, nothing waits."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._gathers = False

    async def run(self, work: Any, node_id: str = "") -> Any:
        """Run some work, about a node perhaps, as one transaction; when this returns, it is durable."""
        return await (_Parked(work, node_id) if self._gathers else super().run(work, node_id))

    def together(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[Outcome]:
        """Run coroutines of the coordinator, none of which waits for anything but the store, to their ends.

        They take turns: all go on until each waits for the store or has ended; what they wait for is committed, and
        so on. What one comes to, or raises, is in its place. One that never ends is told so, as a `RuntimeError`.
        """
        ended: dict[int, Outcome] = {}
        going: list[tuple[int, Outcome]] = [(place, Outcome()) for place in range(len(coroutines))]
        self._gathers = True
        turns = 0
        try:
            while going:
                turns += 1
                waiting: list[tuple[int, _Parked]] = []
                for place, told in going:
                    coroutine = coroutines[place]
                    try:
                        if told.failure is None:
                            waiting.append((place, coroutine.send(told.result)))
                        else:
                            waiting.append((place, coroutine.throw(told.failure)))
                    except StopIteration as done:
                        ended[place] = Outcome(done.value)
                    except Exception as error:  # noqa: BLE001  # Whose it is decides.
                        ended[place] = Outcome(failure=error)
                if turns <= MOST_TURNS:
                    outcomes = self.commit([parked for _, parked in waiting])
                else:
                    endless = RuntimeError(f"asked the store {MOST_TURNS} times in turn, and asks again")
                    outcomes = [Outcome(failure=endless) for _ in waiting]
                going = [(place, outcome) for (place, _), outcome in zip(waiting, outcomes, strict=True)]
        finally:
            self._gathers = False
        return [ended[place] for place in range(len(coroutines))]
