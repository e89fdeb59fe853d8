"""Errors as gRPC statuses."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import grpc.aio

from fleet.errors import ConflictError, FleetError, InvalidInputError, NotFoundError, UnknownTagsError

#: gRPC takes 8 KiB of metadata.
_MOST_NAMED = 50

_CODES: tuple[tuple[type[FleetError], grpc.StatusCode], ...] = (
    (InvalidInputError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
)


async def abort_with(context: grpc.aio.ServicerContext[Any, Any], error: FleetError) -> NoReturn:
    """End a call with the status of an error; its hint follows the message on a line of its own."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    if isinstance(error, UnknownTagsError) and len(error.tags) <= _MOST_NAMED:
        context.set_trailing_metadata([(error.METADATA_KEY, tag) for tag in error.tags])
    text = f"{error}\n{error.hint}" if error.hint else str(error)
    await context.abort(code, text)
    raise AssertionError("abort raises")
