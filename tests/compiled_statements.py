"""Compiled statements that all engines of this process share.

An engine compiles each of the coordinator's statements when it first runs it, which takes as long as some hundred runs;
hundreds of tests have an engine of their own. What is compiled depends on the kind of the database and on nothing else.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event


class CompiledStatements(dict[Any, Any]):
    """Cache of SQLAlchemy (execution option `compiled_cache`), whose keys begin with a dialect: by its class."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__((type(key[0]), *key[1:]), compiled)


_shared = CompiledStatements()


@event.listens_for(Engine, "engine_connect")
def share(connection: Connection) -> None:
    """Let a connection use what any other one has compiled."""
    connection.execution_options(compiled_cache=_shared)
