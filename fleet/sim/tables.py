"""Tables of a run: columns of plain values, as Parquet files and as arrays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from reram_fleet.processes.durable import write_atomically

#: Values by column, all of one length.
Columns: TypeAlias = Mapping[str, Sequence[Any]]
#: Tables by name.
Tables: TypeAlias = Mapping[str, Columns]

_SUFFIX = ".parquet"


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Return rows as columns, in the order in which they first occur; None where a row has no such value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def write_tables(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write a Parquet file for each table that has rows, each of them atomically."""
    for name, rows in tables.items():
        if rows:
            buffer = io.BytesIO()
            pq.write_table(pa.table(dict(columns_of(rows))), buffer)
            write_atomically(folder / f"{name}{_SUFFIX}", buffer.getvalue(), 0o644)


def read_tables(folder: Path) -> dict[str, pa.Table]:
    """Return the tables of a folder, by name."""
    return {path.name.removesuffix(_SUFFIX): pq.read_table(path) for path in table_files(folder)}


def table_files(folder: Path) -> Iterable[Path]:
    """Return the files of a folder's tables."""
    return sorted(folder.glob(f"*{_SUFFIX}"))
