"""Kinds of databases that a test of the store runs over."""

import pytest

SQLITE, MEMORY = "sqlite", "memory"
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)
ALL = [SQLITE, MEMORY, POSTGRESQL]
LASTING = [SQLITE, POSTGRESQL]

#: The test opens its database twice, or looks at it by itself.
lasting = pytest.mark.parametrize("url", LASTING, indirect=True)
#: The test is about SQLite's file.
sqlite_only = pytest.mark.parametrize("url", [SQLITE], indirect=True)
#: The coordinator of the test keeps its fleet in either (fixtures of `tests/unit/coordinator`).
kept_in_either = pytest.mark.parametrize("kept_in", LASTING, indirect=True)
postgresql_only = pytest.mark.parametrize("url", [POSTGRESQL], indirect=True)
