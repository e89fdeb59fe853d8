"""Pages of what operators list: no answer grows with the fleet."""

from __future__ import annotations

from collections.abc import Set

from reram_fleet.v1 import operator_pb2 as wire

from fleet.coordinator.views import Views, execution_view
from fleet.coordinator.work import Part, Work
from fleet.domain.execution import ExecutionState
from fleet.errors import InvalidInputError
from fleet.store.rows import ExecutionRow

#: Entries of a page, if nothing is asked for, and at most.
PAGE, LONGEST_PAGE = 100, 1000
#: Of the receipts in a page, whose length grows with the number of people; one may be longer.
PAGE_BYTES = 1 << 20
#: Executions that are read at once, until a page is full.
_AT_ONCE = 20


class Pages(Part):
    """Nodes, forgets and executions, page by page."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._views = work.part(Views)

    def nodes(self, request: wire.ListNodesRequest) -> wire.ListNodesResponse:
        """Return nodes that are not retired, by id."""
        size = _size(request.page_size)
        nodes = self._tx.nodes.page(after=request.page_token, limit=size)
        return wire.ListNodesResponse(
            nodes=self._views.nodes(nodes, self._env.sessions.connected()),
            next_page_token=nodes[-1].node_id if len(nodes) == size else "",
        )

    def forgets(self, request: wire.ListForgetsRequest) -> wire.ListForgetsResponse:
        """Return forgets, newest first."""
        # Generations are dense, and each is a forget's.
        last = _generation(request.page_token) - 1 if request.page_token else self._tx.fleet.get().generation
        first = max(0, last - _size(request.page_size))
        campaigns = self._tx.forgets.list(above=first, through=last)
        return wire.ListForgetsResponse(
            forgets=[self._views.forget(campaign) for campaign in reversed(campaigns)],
            next_page_token=str(first + 1) if first else "",
        )

    def executions(self, request: wire.ListExecutionsRequest) -> wire.ListExecutionsResponse:
        """Return executions of a forget, by node id, or of a node, newest forget first; or the one of both.

        Raises `NotFoundError` if there is no such forget, node or execution; `InvalidInputError` if neither is named,
        or there is no such state or token.
        """
        states = _states(request)
        if request.campaign_id and request.node_id:
            rows = [self._tx.forgets.execution(request.campaign_id, request.node_id)]
            return wire.ListExecutionsResponse(
                executions=[execution_view(row) for row in rows if not states or row.state in states]
            )
        if not request.campaign_id and not request.node_id:
            raise InvalidInputError("executions are listed of a forget or of a node: name one")
        if request.campaign_id:
            self._tx.forgets.get(request.campaign_id)
        else:
            self._tx.nodes.get(request.node_id)
        return self._executions(request, states)

    def _executions(
        self, request: wire.ListExecutionsRequest, states: Set[ExecutionState] | None
    ) -> wire.ListExecutionsResponse:
        page = wire.ListExecutionsResponse()
        left, room, token = _size(request.page_size), PAGE_BYTES, request.page_token
        while left:
            wanted = min(left, _AT_ONCE)
            rows = self._behind(request, token, states, wanted)
            for row in rows:
                room -= len(row.receipt or b"")
                if room < 0 and page.executions:
                    page.next_page_token = token
                    return page
                page.executions.append(execution_view(row))
                token = row.node_id if request.campaign_id else str(row.generation)
            if len(rows) < wanted:
                return page
            left -= wanted
        page.next_page_token = token
        return page

    def _behind(
        self, request: wire.ListExecutionsRequest, token: str, states: Set[ExecutionState] | None, limit: int
    ) -> list[ExecutionRow]:
        if request.campaign_id:
            return list(self._tx.forgets.executions(request.campaign_id, after=token, states=states, limit=limit))
        through = _generation(token) - 1 if token else None
        found = self._tx.forgets.executions_of(request.node_id, through=through, states=states, newest=limit)
        return list(reversed(found))


def _size(wanted: int) -> int:
    return min(wanted or PAGE, LONGEST_PAGE)


def _generation(token: str) -> int:
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise InvalidInputError(f"a page begins at a generation, not at {token[:40]!r}")
    return int(token)


def _states(request: wire.ListExecutionsRequest) -> Set[ExecutionState] | None:
    try:
        return {ExecutionState(state) for state in request.states} or None
    except ValueError:
        listed = ", ".join(ExecutionState)
        raise InvalidInputError(f"an execution has one of the states {listed}") from None
