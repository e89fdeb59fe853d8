from __future__ import annotations

import contextlib
import sqlite3

import pytest
from psycopg.errors import FeatureNotSupported

from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.testing import SteppedCoordinator
from fleet.doctor.findings import State
from fleet.store.database import Store
from tests.components import lacking
from tests.unit.store.earlier_rows import make_database, revisions


def test_a_database_of_an_older_schema_is_a_warning_and_is_not_migrated(folder, found):
    folder.database.unlink()
    make_database(folder.database_url, revisions()[2])

    (finding,) = found("database", State.WARNING)

    assert f"its tables are of revision {revisions()[2]}" in finding.found
    assert "brings it up to date" in finding.fix
    with Store.read_only(folder.database_url) as store:
        assert store.schema_state().revision == revisions()[2]


def test_a_database_of_a_newer_version_is_a_failure(folder, failure):
    with sqlite3.connect(folder.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "9999, which this version" in failure("database").found


def test_a_damaged_file_is_a_failure(folder, failure):
    content = bytearray(folder.database.read_bytes())
    # A page in the middle, as a bad block leaves it.
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = bytes(4096)
    folder.database.write_bytes(content)
    finding = failure("database")
    assert "is damaged" in finding.found
    assert finding.fix.startswith("fleet admin restore FILE")


def test_a_row_that_refers_to_nothing_is_a_failure(folder, failure):
    with sqlite3.connect(folder.database) as connection:
        connection.execute("DELETE FROM node WHERE node_id = 'node-1'")
    connection.close()
    assert "refers to a node that is not there" in failure("database").found


@pytest.mark.postgresql
def test_a_postgresql_that_forgets_what_it_acknowledged_is_a_failure(tmp_path, postgres_url, found):
    SteppedCoordinator(tmp_path / "elsewhere", database=postgres_url).close()
    where = CoordinatorFolder(tmp_path / "elsewhere", postgres_url)
    # Tests run on a server that does not sync.
    (finding,) = found("database", State.FAILURE, where)
    assert "fsync is off" in finding.found
    assert found("log", State.FAILURE, where) == []
    assert "postgresql+psycopg" not in repr(found(where=where)), "a password may stand in the address"


@pytest.mark.postgresql
def test_a_postgresql_that_sorts_by_the_rules_of_a_language_is_a_failure(tmp_path, postgres, found):
    with contextlib.ExitStack() as until_the_end:
        try:
            icu = postgres.database(options="LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
            url = until_the_end.enter_context(icu)
        except FeatureNotSupported:
            lacking("this PostgreSQL is built without ICU")
        CoordinatorFolder(tmp_path / "elsewhere").create()
        (finding,) = found("database", State.FAILURE, CoordinatorFolder(tmp_path / "elsewhere", url))
    assert "sorts text by the rules of a language" in finding.found


@pytest.mark.postgresql
def test_a_postgresql_database_is_opened_for_reading_only(tmp_path, postgres_url):
    SteppedCoordinator(tmp_path / "elsewhere", database=postgres_url).close()
    with Store.read_only(postgres_url) as store, store.snapshot() as tx, pytest.raises(Exception, match="read-only"):
        tx.leadership.take("a doctor")


def test_a_sqlite_database_is_opened_for_reading_only(folder):
    with Store.read_only(folder.database_url) as store, store.snapshot() as tx, pytest.raises(Exception, match="read"):
        tx.leadership.take("a doctor")
