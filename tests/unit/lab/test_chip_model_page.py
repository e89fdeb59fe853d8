"""docs/chip-model.md: its Python runs, its commands exist, its pictures are there."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from click import Context, Group
from typer.main import get_command

from fleet.cli import app

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "chip-model.md"
TEXT = PAGE.read_text(encoding="utf-8")

COMMANDS = re.findall(r"^\$ fleet (chip [^#>\n]*)", TEXT, re.MULTILINE)
PICTURES = re.findall(r"!\[[^\]]+\]\(images/([^)]+)\)", TEXT)


def test_worked_example_runs():
    result = doctest.testfile(str(PAGE), module_relative=False)

    assert result.attempted > 15
    assert result.failed == 0


def test_page_names_commands():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_parses(line):
    command, arguments = get_command(app), shlex.split(line)
    while isinstance(command, Group):
        command = command.get_command(Context(command), arguments.pop(0))

    # Refuses unknown options and missing values; runs nothing.
    with command.make_context("fleet", arguments) as context:
        assert context.params


def test_every_picture_is_there_and_every_chip_picture_is_shown():
    there = {picture.name for picture in (DOCS / "images").glob("chip-*.svg")}

    assert set(PICTURES) == there
    assert len(there) >= 8


@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_are_small_svg_without_a_date(picture):
    text = (DOCS / "images" / picture).read_text(encoding="utf-8")

    assert "<svg" in text
    assert "<dc:date>" not in text
    assert len(text) < 250_000
