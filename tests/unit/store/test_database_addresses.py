"""Addresses of databases: which are taken, what is said of one that is not, and never a password."""

from contextlib import ExitStack

import pytest
import sqlalchemy as sa
from psycopg.errors import FeatureNotSupported

from fleet.errors import StoreError
from fleet.store import Store
from tests.components import lacking
from tests.unit.store.earlier_rows import engine_of
from tests.unit.store.kinds import POSTGRESQL


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot open"):
        Store.open(f"sqlite:///{tmp_path}/missing/fleet.db")


@pytest.mark.parametrize("url", ["nonsense:hunter2", "", "postgresql://fleet:hunter2@host:port/fleet"])
def test_an_address_that_is_none_is_refused_and_not_quoted(url):
    with pytest.raises(StoreError, match="not a database address") as refused:
        Store.open(url)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


def test_a_kind_of_database_that_nobody_tested_is_refused():
    with pytest.raises(StoreError, match="not kept in mysql"):
        Store.open("mysql://fleet:hunter2@host/fleet")


def test_a_server_that_cannot_be_reached_is_told_without_the_password(tmp_path):
    with pytest.raises(StoreError, match="cannot open postgresql") as refused:
        Store.open(f"postgresql://fleet:hunter2@/fleet?host={tmp_path}")
    assert "No such file or directory" in str(refused.value)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize("kind", [POSTGRESQL])
def test_an_address_needs_not_say_which_driver(kind, postgres_url):
    with Store.open(postgres_url.replace("+psycopg", "")) as store, store.transaction() as tx:
        tx.fleet.create("f1")


@pytest.mark.parametrize("kind", [POSTGRESQL])
def test_a_database_that_sorts_text_otherwise_than_python_is_refused(kind, postgres, postgres_url):
    with ExitStack() as until_the_end:
        try:
            icu = postgres.database(options="LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
            url = until_the_end.enter_context(icu)
        except FeatureNotSupported:
            lacking("this PostgreSQL is built without ICU")
        with pytest.raises(StoreError, match="sorts text by the rules of a language") as refused:
            Store.open(url)
        assert "--locale=C" in refused.value.hint
        with engine_of(url) as engine:
            assert sa.inspect(engine).get_table_names() == []
