"""Alembic environment; run by `Store.open`, never by hand."""
