"""Folder of data that are not ours to ship: one for all of it, or a place for each set of its own."""

from __future__ import annotations

import os
from pathlib import Path

#: Environment variable that names the folder with everything: `olivetti_py3.pkz`, `extended_yale_b_32x32.mat`, and
#: `fsdd.zip` or `fsdd/`.
DATA_VARIABLE = "RERAM_FLEET_DATA"


def data_source(variable: str, *entries: str, inside: bool = True) -> str | None:
    """Return where a data set is, or None if nothing says so.

    `variable` is the environment variable of this set alone, which comes first; `entries` are its names in the folder
    that `RERAM_FLEET_DATA` names, of which the first counts that is there: it, or, unless `inside`, the folder.
    """
    if named := os.environ.get(variable):
        return named
    if folder := os.environ.get(DATA_VARIABLE):
        for entry in entries:
            if (path := Path(folder) / entry).exists():
                return str(path if inside else folder)
    return None
