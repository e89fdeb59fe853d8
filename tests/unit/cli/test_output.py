"""Text that is printed as it is: a fingerprint is read off the terminal and compared."""

from __future__ import annotations

import pytest

from fleet.cli.output import OutputFormat, facts, hint, note, records, show, show_error
from fleet.errors import FleetError

#: Two of its digits are the code of an emoji to rich.
FINGERPRINT = "7D:AB:E1:87"


def in_a_table() -> None:
    show(OutputFormat.TABLE, {}, lambda: [records("Keys", {"key": "key"}, [{"key": FINGERPRINT}])])


def in_facts() -> None:
    show(OutputFormat.TABLE, {}, lambda: [facts("Certificate", {"SHA-256": FINGERPRINT})])


def in_json() -> None:
    show(OutputFormat.JSON, {"fingerprint": FINGERPRINT}, list)


PLACES = {
    "a table": in_a_table,
    "facts": in_facts,
    "JSON": in_json,
    "a note": lambda: note(FINGERPRINT),
    "a hint": lambda: hint(FINGERPRINT),
    "an error": lambda: show_error(FleetError("not the one", hint=FINGERPRINT)),
}


@pytest.mark.parametrize("place", PLACES)
def test_digits_that_are_the_code_of_an_emoji_are_printed_verbatim(place, capsys):
    PLACES[place]()

    assert FINGERPRINT in "".join(capsys.readouterr())
