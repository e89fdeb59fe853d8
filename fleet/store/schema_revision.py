"""Revision of a database's tables, as Alembic notes it there.

Alembic is imported for a migration only: that takes as long as the rest of the store, and most databases are new or up
to date.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sqlalchemy as sa

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
#: Alembic's own table.
_noted = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


@cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions that this program can bring up to date, oldest first; a file of each is called by it."""
    return tuple(sorted(path.name[1:5] for path in _VERSIONS.glob("v[0-9]*.py")))


def revision_of(connection: sa.Connection) -> str | None:
    """Return the revision of the tables; None if there are none."""
    if not sa.inspect(connection).has_table(_noted.name):
        return None
    found: str | None = connection.execute(sa.select(_noted.c.version_num)).scalar()
    return found


def note_newest(connection: sa.Connection) -> None:
    """Note that the tables, which were made just now, are of the newest revision."""
    _noted.create(connection, checkfirst=False)
    connection.execute(sa.insert(_noted), {"version_num": known_revisions()[-1]})


def migrate(connection: sa.Connection) -> None:
    """Bring the tables up to date, in the transaction that the connection is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "fleet.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, known_revisions()[-1])
