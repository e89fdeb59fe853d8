"""Base of the gRPC services: calls as transactions over the store, and their errors as gRPC statuses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio

from fleet.coordinator.core import Coordinator
from fleet.coordinator.unit import UnitOfWork
from fleet.errors import (
    ConflictError,
    FleetError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    UnknownTagsError,
    reason_of,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

#: gRPC takes 8 KiB of metadata.
_MOST_NAMED = 50

_CODES: tuple[tuple[type[FleetError], grpc.StatusCode], ...] = (
    (InvalidInputError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
)


class Servicer:
    """Service over the store of one coordinator."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def _run(self, context: Context, work: Callable[[UnitOfWork], T]) -> T:
        return await _answer(context, self._coordinator.run(work))

    async def _read(self, context: Context, work: Callable[[UnitOfWork], T]) -> T:
        return await _answer(context, self._coordinator.read(work))

    async def _change(self, context: Context, work: Callable[[UnitOfWork], T]) -> T:
        """Run a transaction that others must hear of."""
        result = await self._run(context, work)
        self._coordinator.announce()
        return result


async def _answer(context: Context, result: Awaitable[T]) -> T:
    try:
        return await result
    except FleetError as error:
        await _abort(context, error)
    except OSError as error:
        logger.error("a call failed: %s", error)
        reason = f"the coordinator cannot use its state folder: {reason_of(error)}; nothing was changed"
        await _abort(context, StoreError(reason))


async def _abort(context: Context, error: FleetError) -> NoReturn:
    """End a call with the status of an error; its hint follows the message on a line of its own."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    if isinstance(error, UnknownTagsError) and len(error.tags) <= _MOST_NAMED:
        context.set_trailing_metadata([(error.METADATA_KEY, tag) for tag in error.tags])
    await context.abort(code, f"{error}\n{error.hint}" if error.hint else str(error))
    raise AssertionError("abort raises")
