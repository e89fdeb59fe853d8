"""The coordinator's database: SQLite, in memory too, or PostgreSQL.

`Store.open(url)` brings the schema up to date; `store.transaction()` gives a `Transaction` with a repository per noun:
`leadership`, `fleet`, `nodes`, `log`, `forgets`, `subjects`, `revisions`, `heads`, `learning`, `tree`. Rows are frozen
dataclasses (`fleet.store.rows`); errors are those of `fleet.errors`.
"""

from fleet.store.database import Store, Transaction

__all__ = ["Store", "Transaction"]
