"""Run migrations over the connection that `Store.open` passes in, in its transaction."""

from __future__ import annotations

from alembic import context

from fleet.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
