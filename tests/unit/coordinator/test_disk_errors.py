"""Errors of the disk, in the words that an operator reads."""

from __future__ import annotations

import asyncio
import errno
import os

import grpc
import pytest

from fleet.coordinator.operator_service import OperatorService
from fleet.errors import StoreError


class AbortedError(Exception):
    pass


class Context:
    async def abort(self, code, text):
        raise AbortedError(code, text)


def test_a_full_disk_is_told_in_words(coordinator):
    def fill(unit):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(coordinator.coordinator.env.settings.state))

    service = OperatorService(coordinator.coordinator)
    for call in (service._run, service._read):
        with pytest.raises(AbortedError) as aborted:
            asyncio.run(call(Context(), fill))
        code, text = aborted.value.args
        assert code is grpc.StatusCode.INTERNAL
        assert "state folder: No space left on device" in text
        assert "OSError" not in text


def test_a_database_that_is_full_is_told_in_words(coordinator):
    with coordinator.transaction() as unit:
        limit = unit.tx.nodes._connection.exec_driver_sql("PRAGMA max_page_count = 1").scalar_one()
        assert limit > 1

    def grow():
        with coordinator.transaction() as unit:
            unit.tx.nodes._connection.exec_driver_sql("CREATE TABLE filler (content BLOB)")
            unit.tx.nodes._connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(1000000))")

    with pytest.raises(StoreError, match="cannot be used now: database or disk is full"):
        grow()
