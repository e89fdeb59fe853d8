"""Schema of scenarios: as JSON, and as the reference of their keys in the documentation."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleet.sim.scenario import Scenario

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def scenario_schema() -> dict[str, Any]:
    """Return the JSON schema of scenarios; what it cannot say is checked when one is read."""
    return {"$schema": _DRAFT, **Scenario.model_json_schema(mode="validation")}


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(scenario_schema(), indent=2) + "\n"


def reference() -> str:
    """Return the reference of all keys, in Markdown."""
    schema = scenario_schema()
    tables = {name: _definition(schema, value) for name, value in schema["properties"].items()}
    parts = [
        "### The scenario itself",
        "",
        *_keys(schema, schema, [name for name, found in tables.items() if not found]),
    ]
    for name, found in tables.items():
        if found:
            parts += ["", f"### `[{name}]`" if _is_table(schema, name) else f"### `[[{name}]]`", ""]
            parts += [found["description"], "", *_keys(schema, found, found["properties"])]
    return "\n".join(parts) + "\n"


def _is_table(schema: Mapping[str, Any], name: str) -> bool:
    return bool(schema["properties"][name].get("type") != "array")


def _definition(schema: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table that a key is, or that its items are; {} if it is a plain value."""
    reference = value.get("$ref") or value.get("items", {}).get("$ref") or ""
    found: dict[str, Any] = schema["$defs"].get(reference.rpartition("/")[2], {})
    return found if "properties" in found else {}


def _keys(schema: Mapping[str, Any], table: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        value = table["properties"][name]
        text = f"- `{name}`: {value['description']}{_allowed(schema, value)}{_default(value)}"
        yield from textwrap.wrap(text, 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _allowed(schema: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """Return which values a key takes, if they can be counted."""
    found = {**schema["$defs"].get(value.get("$ref", "").rpartition("/")[2], {}), **value}
    return f" One of {', '.join(f'`{each}`' for each in found['enum'])}." if "enum" in found else ""


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default", ...)
    if default is ...:
        return " Required."
    if default in (None, "", [], {}):
        return ""
    if isinstance(default, str):
        return f" Default: `{default}`."
    is_duration = any(each.get("type") == "string" for each in value.get("anyOf", ()))
    return f" Default: {json.dumps(default)}{' s' if is_duration else ''}."
